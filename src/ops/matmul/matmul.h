#pragma once
#include "device/op.h"
namespace xylem {
// y = x W^T (+ bias), accumulated in float32. With round_x, x is rounded to bfloat16 first (the model runs in
// bfloat16); otherwise it enters as it is. Products are of the stored weights: nothing else is rounded.
struct MatMul {
  static constexpr const char* kName = "matmul";
  Tensor x;     // [M, K] f32, strided rows
  Tensor w;     // [N, K] packed, bf16 | f16 | f32 | float8 | mxfp4
  Tensor bias;  // [N] f32 or empty
  Tensor y;     // [M, N] f32, strided rows
  bool round_x = false;
  XYLEM_FIELDS(in(x), in(w), in(bias), out(y))
};
}  // namespace xylem
