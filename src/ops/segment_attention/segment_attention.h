#pragma once
#include "device/op.h"
namespace xylem {
// y = softmax(scale * q K^T) V, every query of a segment over all keys of its segment, in both directions; no cache. Segment b holds
// rows [cu[b], cu[b+1]), all rows in all. For encoders of images (specs/gemma4.md 8.2, qwen3_5.md 7.1).
struct SegmentAttention {
  static constexpr const char* kName = "segment_attention";
  Tensor q, k, v;  // [N, heads, dim] f32, strided
  Tensor cu;       // [B + 1] i32
  Tensor y;        // [N, heads, dim] f32, contiguous
  float scale = 1.0f;
  bool round_x = false;  // inputs of its products are rounded to bf16
  XYLEM_FIELDS(in(q), in(k), in(v), in(cu), out(y))
};
}  // namespace xylem
