#pragma once
#include "device/op.h"
namespace xylem {
// y[t] = x[t] + sum over j of weights[t, j] * table[ids[t, j]]      (learned positions; specs/gemma4.md 8.2, qwen3_5.md 7.1)
struct BlendRows {
  static constexpr const char* kName = "blend_rows";
  Tensor x;        // [T, C] f32, strided rows
  Tensor table;    // [N, C] any float type, strided rows
  Tensor ids;      // [T, K] i32, all in [0, N)
  Tensor weights;  // [T, K] f32
  Tensor y;        // [T, C] f32; may be x
  XYLEM_FIELDS(in(x), in(table), in(ids), in(weights), out(y))
};
// Ends the program unless every tensor fits the others.
void check(const BlendRows& a);
}  // namespace xylem
