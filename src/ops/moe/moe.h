#pragma once
#include "ops/act_mul/act_mul.h"
namespace xylem {
// y[t] = sum over i of weights[t, i] * (down_e( act(gate_e x[t]) * up_e x[t] ) + down_bias[e]),  e = ids[t, i]; a bias
// of gate and up is added before act (specs/common.md 8, gpt_oss.md 5). round_x as in MatMul, for both products. Each
// chosen expert's weights are read once.
struct MoeExperts {
  static constexpr const char* kName = "moe_experts";
  Tensor x;        // [T, H] f32, strided rows
  Tensor ids;      // [T, k] i32; an expert at most once a token
  Tensor weights;  // [T, k] f32
  Tensor gate_up;  // [E, 2I, H] packed, any weight type: rows 0..I-1 gate, I..2I-1 up
  Tensor down;     // [E, H, I] packed
  Tensor y;        // [T, H] f32
  Act act = Act::kSilu;
  bool round_x = false;
  float limit = 0;      // of kClampedSwiglu
  Tensor gate_up_bias;  // [E, 2I] f32 or empty
  Tensor down_bias;     // [E, H] f32 or empty
  XYLEM_FIELDS(in(x), in(ids), in(weights), in(gate_up), in(down), in(gate_up_bias), in(down_bias), out(y))
};
}  // namespace xylem
