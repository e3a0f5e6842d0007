#pragma once
#include "device/op.h"
namespace xylem {
// y[t, :] = a[t, :] + sigmoid(gate[t]) * b[t, :]      (a shared expert with a gate of its own: specs/qwen3_5.md 6.1)
struct GatedAdd {
  static constexpr const char* kName = "gated_add";
  Tensor a, b;   // [T, n] f32, strided rows
  Tensor gate;   // [T, 1] f32, strided rows
  Tensor y;      // [T, n] f32; may be a
  XYLEM_FIELDS(in(a), in(b), in(gate), out(y))
};
}  // namespace xylem
