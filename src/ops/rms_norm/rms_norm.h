#pragma once
#include "device/op.h"
namespace xylem {
// y = x / sqrt(mean(x^2) + eps) * (w + w_offset)      over the last dimension; w empty: no weight (specs/common.md 2)
struct RmsNorm {
  static constexpr const char* kName = "rms_norm";
  Tensor x;  // [..., n] f32, strided rows
  Tensor w;  // [n] f32 or empty
  Tensor y;  // [..., n] f32; may be x
  float eps = 1e-6f;
  float w_offset = 0.0f;
  XYLEM_FIELDS(in(x), in(w), out(y))
};
}  // namespace xylem
