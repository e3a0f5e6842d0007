#pragma once
#include "device/op.h"
namespace xylem {
// x[t] = from[rows[t]] where rows[t] >= 0; other rows stay. Row numbers past the end of `from` give zeros.
struct SpliceRows {
  static constexpr const char* kName = "splice_rows";
  Tensor x;     // [T, n] f32, contiguous
  Tensor from;  // [R, n] f32, contiguous
  Tensor rows;  // [T] i32
  XYLEM_FIELDS(inout(x), in(from), in(rows))
};
// Ends the program unless every tensor fits the others.
void check(const SpliceRows& a);
}  // namespace xylem
