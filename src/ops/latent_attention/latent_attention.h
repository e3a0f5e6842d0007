// Multi-head latent attention over a paged cache of latents, and the op that fills it (specs/deepseek_mla.md 4). Both know how
// a layer's slice of a block is laid out; nobody else does.
#pragma once
#include "device/op.h"
namespace xylem {

// Of each token, the latent (rank numbers, normed) and the rotary part of the key that all heads share.
struct LatentCache {
  Tensor pool;             // [blocks, elements of a block] bf16 or f32
  int64_t offset = 0;      // elements from the start of a block to this layer's slice
  int rank = 0, rope_dim = 0;
  int block_tokens = 0;    // a multiple of 16

  int64_t width() const { return rank + rope_dim; }
  // First of the token's width() numbers: the latent, then the rotary part.
  int64_t index(int64_t block, int64_t token) const { return block * pool.stride[0] + offset + token * width(); }
};

// Writes latents and rotary keys of new tokens into their slots (slot = block * block_tokens + token in block; negative: skipped).
struct LatentStore {
  static constexpr const char* kName = "latent_store";
  Tensor latent;  // [T, rank] f32, strided rows
  Tensor k_rope;  // [T, rope_dim] f32, strided rows
  Tensor slots;   // [T] i32
  LatentCache cache;
  XYLEM_FIELDS(in(latent), in(k_rope), in(slots), inout(cache.pool))
};

// For the rows of a step, as in Attention, head h and latents c_t:
//   key_t = [w_uk[h] c_t | rotary part of t], value_t = w_uv[h] c_t;  y = softmax(scale * q key^T, causal) value
// Two forms give the same result. Plain: keys and values of a tile of tokens are expanded once for many queries. Absorbed:
// w_uk[h]^T q_nope is scored against the latents themselves, and w_uv[h] applied to their weighted sum; cheaper for few queries
// of a long context. Latents as cached; everything else is float32, with weights as stored.
struct LatentAttention {
  static constexpr const char* kName = "latent_attention";
  enum class Form : uint8_t { kAuto, kPlain, kAbsorbed };  // kAuto: by the cost of each row
  Tensor q;        // [T, heads, nope_dim + rope_dim] f32, strided; the rotary part is rotated already
  Tensor w_uk;     // [heads, nope_dim, rank] packed, bf16 | f16 | f32
  Tensor w_uk_t;   // [heads, rank, nope_dim] packed: the same numbers
  Tensor w_uv;     // [heads, v_dim, rank] packed
  LatentCache cache;
  Tensor table;    // [B, max_blocks] i32 block ids
  Tensor cu_q;     // [B + 1] i32
  Tensor kv_len;   // [B] i32
  Tensor y;        // [T, heads, v_dim] f32, contiguous
  float scale = 1.0f;
  Form form = Form::kAuto;
  XYLEM_FIELDS(in(q), in(w_uk), in(w_uk_t), in(w_uv), in(cache.pool), in(table), in(cu_q), in(kv_len), out(y))
};

}  // namespace xylem
