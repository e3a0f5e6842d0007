#pragma once
#include "device/op.h"
namespace xylem {
// y[i] = (scale * mean of rows [i * n, (i + 1) * n) of x - shift) * w      shift and w both empty: neither (specs/gemma4.md 8.2)
struct MeanRows {
  static constexpr const char* kName = "mean_rows";
  Tensor x;         // [N * n, C] f32, strided rows
  Tensor shift, w;  // [C] f32 or empty
  Tensor y;         // [N, C] f32
  int n = 1;
  float scale = 1.0f;
  XYLEM_FIELDS(in(x), in(shift), in(w), out(y))
};
// Ends the program unless every tensor fits the others.
void check(const MeanRows& a);
}  // namespace xylem
