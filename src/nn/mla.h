// Multi-head latent attention as a layer of a model writes it (specs/deepseek_mla.md 4): projections, norms, rotation, cache.
#pragma once
#include "nn/blocks.h"

namespace xylem {

struct Mla {
  int64_t hidden = 0, q_rank = 0;  // q_rank 0: queries are projected in one step
  bool interleaved = true;         // rotary pairs are neighbours
  Linear in, q_b, o;               // in: queries (or their low-rank form), latent and rotary key in one product
  Norm q_norm, kv_norm;
  LatentAttentionBlock attn;

  // The dimensions of a config; both spellings of scale are for the caller.
  void read(const Config& c) {
    hidden = c.integer("hidden_size"), q_rank = c.integer_or("q_lora_rank", 0);
    attn.heads = int(c.integer("num_attention_heads", 1, 4096)), attn.rank = int(c.integer("kv_lora_rank", 1, 65536));
    attn.nope_dim = int(c.integer("qk_nope_head_dim", 1, 4096)), attn.rope_dim = int(c.integer("qk_rope_head_dim", 1, 4096));
    attn.v_dim = int(c.integer("v_head_dim", 1, 4096));
    attn.scale = 1.0f / std::sqrt(float(attn.nope_dim + attn.rope_dim));
    q_norm.eps = kv_norm.eps = 1e-6f;  // whatever the config says of other norms (specs/deepseek_mla.md 3)
    if (attn.rope_dim % 2) c.fail("qk_rope_head_dim " + std::to_string(attn.rope_dim) + " is odd");
    if (c.flag_or("attention_bias", false)) c.fail("attention_bias is not supported");
  }

  void params(ParamList& p, const std::string& n) {  // n: "layers.0.self_attn."
    const int64_t q = int64_t(attn.heads) * (attn.nope_dim + attn.rope_dim), kv = attn.rank + attn.rope_dim;
    p.fused(n + "qkv_a_proj.weight", in.w, hidden, {{n + (q_rank ? "q_a_proj.weight" : "q_proj.weight"), q_rank ? q_rank : q}, {n + "kv_a_proj_with_mqa.weight", kv}});
    if (q_rank) p.vector(n + "q_a_layernorm.weight", q_norm.w, q_rank), p.matrix(n + "q_b_proj.weight", q_b.w, q, q_rank);
    p.vector(n + "kv_a_layernorm.weight", kv_norm.w, attn.rank);
    attn.params(p, n + "kv_b_proj.weight");
    p.matrix(n + "o_proj.weight", o.w, hidden, int64_t(attn.heads) * attn.v_dim);
  }

  // x: [T, H], normed; rope_table empty: nothing is rotated
  Tensor operator()(Ctx& c, Tensor x, Tensor rope_table) const {
    Tensor p = in(c, x);
    const int64_t q_cols = q_rank ? q_rank : int64_t(attn.heads) * (attn.nope_dim + attn.rope_dim);
    Tensor flat_q = q_rank ? q_b(c, q_norm(c, columns(p, 0, q_rank))) : columns(p, 0, q_cols);
    Tensor q = as_heads(flat_q, attn.heads), k_rope = columns(p, q_cols + attn.rank, attn.rope_dim);
    if (rope_table.rank) {
      rope(c, head_part(q, attn.nope_dim, attn.rope_dim), rope_table, interleaved);
      rope(c, as_heads(k_rope, 1), rope_table, interleaved);
    }
    attn.store(c, kv_norm(c, columns(p, q_cols, attn.rank)), k_rope);
    return o(c, attn(c, q));
  }
};

}  // namespace xylem
