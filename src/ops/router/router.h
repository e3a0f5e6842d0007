#pragma once
#include "device/op.h"
namespace xylem {
// Which experts a token goes to, and with what weight. With scores s = softmax(logits) or sigmoid(logits):
//   choice = s + bias; of `groups` equal runs of experts only the top_groups with the best group score can be chosen;
//   the k largest choices, best first, ties to the lower id; w = s of the chosen (without bias);
//   divided by their sum (+ 1e-20 for sigmoid) if renormalise; times scale; times expert_scale[id] if there is one.
// A group's score is its largest choice, or the sum of its two largest (specs/gemma4.md 7, gpt_oss.md 5, deepseek_mla.md 6).
struct Router {
  static constexpr const char* kName = "router";
  enum class Score : uint8_t { kSoftmax, kSigmoid };
  enum class GroupScore : uint8_t { kMax, kTopTwo };
  Tensor logits;        // [T, E] f32
  Tensor expert_scale;  // [E] f32 or empty
  Tensor ids;           // [T, k] i32
  Tensor weights;       // [T, k] f32
  bool renormalise = true;
  Score score = Score::kSoftmax;
  GroupScore group_score = GroupScore::kMax;
  int groups = 1, top_groups = 1;  // E is a multiple of groups; k <= top_groups * E / groups
  float scale = 1.0f;
  Tensor bias;          // [E] f32 or empty
  XYLEM_FIELDS(in(logits), in(expert_scale), in(bias), out(ids), out(weights))
};
// Ends the program unless every tensor fits the others.
void check(const Router& a);
}  // namespace xylem
