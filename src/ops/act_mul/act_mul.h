#pragma once
#include "device/op.h"
namespace xylem {
// kClampedSwiglu: with g = min(gate, limit) and u = clamp(up, -limit, limit), y = g * sigmoid(1.702 g) * (u + 1)  (specs/gpt_oss.md 5)
// kGeluErf: x * (1 + erf(x / sqrt 2)) / 2
enum class Act : uint8_t { kSilu, kGeluTanh, kSigmoid, kClampedSwiglu, kGeluErf };
// y = act(gate) * up     (SwiGLU, GeGLU, output gates; specs/common.md 3). Without up: y = act(gate), not for kClampedSwiglu.
struct ActMul {
  static constexpr const char* kName = "act_mul";
  Tensor gate, up;  // [..., n] f32, strided rows: usually the two halves of one projection; up may be empty
  Tensor y;         // [..., n] f32; may be up, or gate if there is no up
  Act act = Act::kSilu;
  float limit = 0;  // of kClampedSwiglu
  XYLEM_FIELDS(in(gate), in(up), out(y))
};
// Ends the program unless every tensor fits the others.
void check(const ActMul& a);
}  // namespace xylem
