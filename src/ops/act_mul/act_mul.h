#pragma once
#include "device/op.h"
namespace xylem {
// kClampedSwiglu: with g = min(gate, limit) and u = clamp(up, -limit, limit), y = g * sigmoid(1.702 g) * (u + 1)  (specs/gpt_oss.md 5)
enum class Act : uint8_t { kSilu, kGeluTanh, kSigmoid, kClampedSwiglu };
// y = act(gate) * up     (SwiGLU, GeGLU, output gates; specs/common.md 3)
struct ActMul {
  static constexpr const char* kName = "act_mul";
  Tensor gate, up;  // [..., n] f32, strided rows: usually the two halves of one projection
  Tensor y;         // [..., n] f32; may be up
  Act act = Act::kSilu;
  float limit = 0;  // of kClampedSwiglu
  XYLEM_FIELDS(in(gate), in(up), out(y))
};
}  // namespace xylem
