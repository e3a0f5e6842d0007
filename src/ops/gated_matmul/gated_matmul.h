#pragma once
#include "ops/act_mul/act_mul.h"
namespace xylem {
// y = (act(gate) * up) W^T (+ bias): ActMul and the product that reads it.
struct GatedMatMul {
  static constexpr const char* kName = "gated_matmul";
  Tensor gate, up;  // [M, K] f32, strided rows; afterwards both hold anything
  Act act = Act::kSilu;
  float limit = 0;  // of kClampedSwiglu
  Tensor w;         // [N, K] packed, as of MatMul
  Tensor bias;      // [N] f32 or empty
  Tensor y;         // [M, N] f32, strided rows
  bool round_x = false;
  XYLEM_FIELDS(in(gate), in(up), in(w), in(bias), out(y))
};
}  // namespace xylem
