#pragma once
#include "device/op.h"
namespace xylem {
// What happens to the residual stream r between two sublayers, in one pass. Every part but x and r is optional.
//   s    = norm(x, x_w) + norm(z, z_w)
//   r    = (norm(s, s_w) + from) * scale[0]      from: r itself unless there is one
//   y[i] = norm(r, y_w[i])
// norm(a, w) = a / sqrt(mean(a^2) + eps) * (w + w_offset) over the last dimension, as RmsNorm; with w empty it is a itself.
struct ResidualNorm {
  static constexpr const char* kName = "residual_norm";
  static constexpr int kOutputs = 3;
  Tensor x, x_w;          // [T, n] f32, strided rows; [n] f32 or empty
  Tensor z, z_w;          // like x and x_w, or empty
  Tensor s_w;             // [n] f32 or empty; only with z
  Tensor r;               // [T, n] f32, strided rows, changed in place
  Tensor scale;           // [1] f32 or empty: 1
  Tensor y[kOutputs];     // [T, n] f32, strided rows, or empty from some output on
  Tensor y_w[kOutputs];   // [n] f32, one for each output
  float eps = 1e-6f;
  float w_offset = 0.0f;
  Tensor from;            // like r, or empty; not the same memory
  XYLEM_FIELDS(in(x), in(x_w), in(z), in(z_w), in(s_w), inout(r), in(from), in(scale), in(y_w[0]), in(y_w[1]), in(y_w[2]), out(y[0]), out(y[1]), out(y[2]))

  int outputs() const { return y[2] ? 3 : y[1] ? 2 : y[0] ? 1 : 0; }
};
// Ends the program unless every tensor fits the others.
void check(const ResidualNorm& a);
}  // namespace xylem
