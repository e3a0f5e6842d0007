#pragma once
#include "device/op.h"
namespace xylem {
enum class Act : uint8_t { kSilu, kGeluTanh };
// y = act(gate) * up     (SwiGLU, GeGLU; specs/common.md 3)
struct ActMul {
  static constexpr const char* kName = "act_mul";
  Tensor gate, up;  // [M, n] f32, strided rows: usually the two halves of one projection
  Tensor y;         // [M, n] f32
  Act act = Act::kSilu;
  XYLEM_FIELDS(in(gate), in(up), out(y))
};
}  // namespace xylem
