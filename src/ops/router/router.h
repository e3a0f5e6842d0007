#pragma once
#include "device/op.h"
namespace xylem {
// Which experts a token goes to, and with what weight: p = softmax(logits); the k largest, ties to the lower id; divided by
// their sum if renormalise; times expert_scale[id] if there is one.  (specs/gemma4.md 7)
struct Router {
  static constexpr const char* kName = "router";
  Tensor logits;        // [T, E] f32
  Tensor expert_scale;  // [E] f32 or empty
  Tensor ids;           // [T, k] i32, best first
  Tensor weights;       // [T, k] f32
  bool renormalise = true;
  XYLEM_FIELDS(in(logits), in(expert_scale), out(ids), out(weights))
};
}  // namespace xylem
