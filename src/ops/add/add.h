#pragma once
#include "device/op.h"
namespace xylem {
// y = (a + b) * scale
struct Add {
  static constexpr const char* kName = "add";
  Tensor a, b;  // [M, n] f32, strided rows
  Tensor y;     // [M, n] f32; may be a or b
  float scale = 1.0f;
  XYLEM_FIELDS(in(a), in(b), out(y))
};
}  // namespace xylem
