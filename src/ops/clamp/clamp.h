#pragma once
#include "device/op.h"
namespace xylem {
// y = min(max(x, lo), hi)      (specs/gemma4.md 8.2, ClippableLinear)
struct Clamp {
  static constexpr const char* kName = "clamp";
  Tensor x;       // [T, n] f32, strided rows
  Tensor lo, hi;  // [1] f32
  Tensor y;       // [T, n] f32, strided rows; may be x
  XYLEM_FIELDS(in(x), in(lo), in(hi), out(y))
};
// Ends the program unless every tensor fits the others.
void check(const Clamp& a);
}  // namespace xylem
