#pragma once
#include "device/op.h"
namespace xylem {
// y = (x - mean(x)) / sqrt(var(x) + eps) * w + bias      over the last dimension (specs/common.md 2)
struct LayerNorm {
  static constexpr const char* kName = "layer_norm";
  Tensor x;     // [T, n] f32, strided rows
  Tensor w;     // [n] f32
  Tensor bias;  // [n] f32
  Tensor y;     // [T, n] f32; may be x
  float eps = 1e-6f;
  XYLEM_FIELDS(in(x), in(w), in(bias), out(y))
};
// Ends the program unless every tensor fits the others.
void check(const LayerNorm& a);
}  // namespace xylem
