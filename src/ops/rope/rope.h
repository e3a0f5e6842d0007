#pragma once
#include "device/op.h"
namespace xylem {
// Cosines and sines of a step, shared by every layer of one kind:  angle = position * inv_freq, in float32 (specs/common.md 5.1).
// With positions on several axes, frequency i turns with those of axis[i] (specs/qwen3_5.md 6.3).
struct RopeTable {
  static constexpr const char* kName = "rope_table";
  Tensor positions;  // [T] i32, or [A, T] with axis
  Tensor inv_freq;   // [R] f32; zeros for pairs that do not rotate
  Tensor y;          // [T, 2, R] f32: cos, then sin, both times gain
  float gain = 1.0f;
  Tensor axis;       // [R] i32, all in [0, A), or empty
  XYLEM_FIELDS(in(positions), in(inv_freq), in(axis), out(y))
};
// Rotates pairs (i, i + R) of the first 2R dimensions of each head; the others are copied. With interleaved: pairs (2i, 2i+1).
struct Rope {
  static constexpr const char* kName = "rope";
  Tensor x;      // [T, heads, dim] f32, strided
  Tensor table;  // [T, 2, R] of RopeTable, 2R <= dim
  Tensor y;      // [T, heads, dim] f32; may be x
  bool interleaved = false;
  XYLEM_FIELDS(in(x), in(table), out(y))
};
// End the program unless every tensor fits the others.
void check(const RopeTable& a);
void check(const Rope& a);
}  // namespace xylem
