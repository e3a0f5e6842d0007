#pragma once
#include "ops/attention/attention.h"
namespace xylem {
// From the products of a layer's input to what attention reads. Every part is optional; heads are normed as RmsNorm does (over
// dim) and rotated as Rope does.
//   y = rotate(norm(q))     K of slot = rotate(norm(k))     V of slot = norm(v)
// Slot = block * block_tokens + token in block; negative: skipped. Padded dimensions are zero. Storing an even token also clears
// V of the next one unless this call stores that too, so that a pair of tokens can always be multiplied as a whole.
struct QkvStore {
  static constexpr const char* kName = "qkv_store";
  struct HeadNorm {
    bool on = false;
    Tensor w;        // [dim] f32, or empty: no weight
  };
  Tensor q;          // [T, heads, dim] f32, strided, or empty
  Tensor k, v;       // [T, kv_heads, dim] f32, strided, or both empty: nothing is stored. v may be k
  HeadNorm q_norm, k_norm, v_norm;
  Tensor table;      // [T, 2, R] of RopeTable, 2R <= dim, or empty: nothing is rotated
  Tensor slots;      // [T] i32, with k and v
  KvCache cache;     // with k and v
  Tensor y;          // [T, heads, dim] f32, strided, with q; may be q
  float eps = 1e-6f;
  float w_offset = 0.0f;
  bool interleaved = false;
  XYLEM_FIELDS(in(q), in(k), in(v), in(q_norm.w), in(k_norm.w), in(v_norm.w), in(table), in(slots), inout(cache.pool), out(y))

  int64_t tokens() const { return q ? q.dim[0] : k.dim[0]; }
  int64_t dim() const { return q ? q.cols() : k.cols(); }
  int64_t heads() const { return q ? q.dim[1] : 0; }
  int64_t kv_heads() const { return k ? k.dim[1] : 0; }
  int64_t pairs() const { return table ? table.cols() : 0; }  // R
};
// Ends the program unless every tensor fits the others.
void check(const QkvStore& a);
}  // namespace xylem
