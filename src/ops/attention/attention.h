// Attention over a paged KV cache. It and QkvStore, which fills the cache, know how a layer's slice of a block is laid out;
// nobody else does.
#pragma once
#include "device/op.h"
namespace xylem {

// One layer's K and V of every block of a group. dim is padded to 16 in memory.
struct KvCache {
  Tensor pool;             // [blocks, elements of a block] bf16 or f32
  int64_t offset = 0;      // elements from the start of a block to this layer's slice
  int kv_heads = 0, dim = 0;
  int block_tokens = 0;    // a multiple of 16

  static constexpr int kLane = 16;  // tokens of a K panel, dimensions of a V panel
  int64_t padded_dim() const { return round_up(dim, kLane); }
  int64_t head_elements() const { return 2 * padded_dim() * block_tokens; }
  // K and V lie as packed weights do (tensor.h), so that scores and values are matrix products over panels:
  //   K [token/16][dim/P][16][P]   V [dim/16][token/P][16][P]   P = 2 for bf16, 1 for f32
  int64_t k_index(int64_t block, int head, int64_t token, int64_t d) const {
    const int64_t p = pack_width(pool.dtype);
    return block * pool.stride[0] + offset + head * head_elements() + (token / kLane) * kLane * padded_dim() + (d / p) * kLane * p +
           (token % kLane) * p + d % p;
  }
  int64_t v_index(int64_t block, int head, int64_t token, int64_t d) const {
    const int64_t p = pack_width(pool.dtype);
    return block * pool.stride[0] + offset + head * head_elements() + padded_dim() * block_tokens + (d / kLane) * kLane * block_tokens +
           (token / p) * kLane * p + (d % kLane) * p + token % p;
  }
};

// y = softmax(scale * q K^T + mask) V for the rows of a step. Row b holds queries [cu_q[b], cu_q[b+1]), the last ones of its
// kv_len[b] tokens, whose K and V are in the cache. Query at position p sees keys k <= p and, with window W > 0, k > p - W
// (specs/common.md 6). Query head h reads kv head h / (heads / kv_heads). Blocks outside every query's window may be holes.
// With limits, query t sees keys k < limits[t] instead of k <= p, where limits[t] is in (p, kv_len[b]]: the end of the image that it
// belongs to, in layers where images see themselves in both directions (specs/gemma4.md 8.3).
// With sinks, exp(sinks[h]) joins the sum of the softmax of head h, but no value does (specs/gpt_oss.md 4).
// With a bf16 cache, q and the probabilities may be rounded to bf16 before their products.
struct Attention {
  static constexpr const char* kName = "attention";
  Tensor q;        // [T, heads, dim] f32, strided
  KvCache cache;
  Tensor table;    // [B, max_blocks] i32 block ids
  Tensor cu_q;     // [B + 1] i32
  Tensor kv_len;   // [B] i32
  Tensor y;        // [T, heads, dim] f32, contiguous
  float scale = 1.0f;
  int window = 0;
  Tensor sinks;    // [heads] f32 or empty
  Tensor limits;   // [T] i32 or empty
  XYLEM_FIELDS(in(q), in(cache.pool), in(table), in(cu_q), in(kv_len), in(sinks), in(limits), out(y))
};

}  // namespace xylem
