#pragma once
#include "device/op.h"
namespace xylem {
// y = cap * tanh(x / cap)    (specs/common.md 4)
struct Softcap {
  static constexpr const char* kName = "softcap";
  Tensor x;  // [M, n] f32
  Tensor y;  // [M, n] f32; may be x
  float cap = 30.0f;
  XYLEM_FIELDS(in(x), out(y))
};
}  // namespace xylem
