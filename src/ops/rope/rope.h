#pragma once
#include "device/op.h"
namespace xylem {
// Cosines and sines of a step, shared by every layer of one kind:  angle = position * inv_freq, in float32 (specs/common.md 5.1)
struct RopeTable {
  static constexpr const char* kName = "rope_table";
  Tensor positions;  // [T] i32
  Tensor inv_freq;   // [R] f32; zeros for pairs that do not rotate
  Tensor y;          // [T, 2, R] f32: cos, then sin, both times gain
  float gain = 1.0f;
  XYLEM_FIELDS(in(positions), in(inv_freq), out(y))
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
}  // namespace xylem
