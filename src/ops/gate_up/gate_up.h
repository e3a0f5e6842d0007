#pragma once
#include "device/op.h"
#include "ops/act_mul/act_mul.h"
namespace xylem {
// y = act(x Wg^T) * (x Wu^T), W being Wg and below it Wu: the first product of a feed-forward layer and the activations.
struct GateUp {
  static constexpr const char* kName = "gate_up";
  Tensor x;     // [M, K] f32, strided rows
  Tensor w;     // [2 N, K] packed, N a multiple of kPanel
  Tensor bias;  // [2 N] f32 or empty
  Tensor y;     // [M, N] f32, strided rows
  Act act = Act::kSilu;
  float limit = 0;  // of kClampedSwiglu
  bool round_x = false;
  XYLEM_FIELDS(in(x), in(w), in(bias), out(y))
};

// Puts GateUp in place of MatMul and the activations of the GatedMatMul that reads it, where the device has a kernel for it.
Plan with_gate_up(Plan plan, Device& d);
}  // namespace xylem
