// The blocks that models are written with: weights, and the op calls that use them. Shapes: T tokens of a step.
#pragma once
#include <cmath>

#include "nn/ctx.h"
#include "nn/model.h"
#include "ops/act_mul/act_mul.h"
#include "ops/add/add.h"
#include "ops/attention/attention.h"
#include "ops/causal_conv/causal_conv.h"
#include "ops/delta_step/delta_step.h"
#include "ops/gated_add/gated_add.h"
#include "ops/gated_delta/gated_delta.h"
#include "ops/gated_matmul/gated_matmul.h"
#include "ops/gather/gather.h"
#include "ops/latent_attention/latent_attention.h"
#include "ops/matmul/matmul.h"
#include "ops/moe/moe.h"
#include "ops/qkv_store/qkv_store.h"
#include "ops/residual_norm/residual_norm.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/router/router.h"
#include "ops/softcap/softcap.h"
#include "ops/splice_rows/splice_rows.h"

namespace xylem {

struct Linear {
  Tensor w;     // [N, K] packed
  Tensor bias;  // [N] or empty
  bool exact = false;  // x stays float32 also in a model that runs in bfloat16: routers whose choice must not flip
  Tensor operator()(Ctx& c, Tensor x) const {  // [T, K] -> [T, N]
    Tensor y = c.temp({x.rows(), w.dim[0]});
    c.run(MatMul{x, w, bias, y, c.round_x && !exact});
    return y;
  }
  Tensor operator()(Ctx& c, Tensor gate, Tensor up, Act act) const {  // of act(gate) * up; up is used up
    Tensor y = c.temp({gate.rows(), w.dim[0]});
    c.run(GatedMatMul{gate, up, act, 0, w, bias, y, c.round_x && !exact});
    return y;
  }
};

struct Norm {
  Tensor w;               // [n] or empty
  float eps = 1e-6f;
  float w_offset = 0.0f;  // 1 for checkpoints that store weights around zero
  Tensor operator()(Ctx& c, Tensor x) const {  // any leading dimensions; the result is contiguous
    Tensor y = x.rank == 3 ? c.temp({x.dim[0], x.dim[1], x.dim[2]}) : c.temp({x.rows(), x.cols()});
    c.run(RmsNorm{x, w, y, eps, w_offset});
    return y;
  }
};

// How some families join a sublayer's output to the residual stream. Norms of one call have the same eps and w_offset.
struct Joint {
  struct Output { const Norm* norm; Tensor y; };
  const Norm* after = nullptr;        // norm of the output
  Tensor other;                       // output of another sublayer beside it
  const Norm *after_other = nullptr, *after_sum = nullptr;
  Tensor scale;                       // [1]: of the new stream
  std::array<Output, 2> also{};       // norms of it besides the next sublayer's
};

// The residual stream between sublayers.
struct Residual {
  Tensor x;  // [T, H], changed in place
  Tensor h;  // [T, H]: a norm of x, which the next sublayer reads

  // x += y; h = next(x), unless next is null.
  void add(Ctx& c, Tensor y, const Norm* next, const Joint& m = {}) const {
    ResidualNorm a{y, {}, m.other, {}, {}, x, m.scale, {}, {}};
    const Norm* any = nullptr;
    const auto weight = [&](const Norm* n) {
      if (!n) return Tensor{};
      CHECK(!any || (any->eps == n->eps && any->w_offset == n->w_offset), n->eps, n->w_offset);
      any = n;
      return n->w;
    };
    a.x_w = weight(m.after), a.z_w = weight(m.after_other), a.s_w = weight(m.after_sum);
    int outputs = 0;
    for (const Joint::Output& o : {Joint::Output{next, h}, m.also[0], m.also[1]})
      if (o.norm) a.y[outputs] = o.y, a.y_w[outputs++] = weight(o.norm);
    if (any) a.eps = any->eps, a.w_offset = any->w_offset;
    c.run(a);
  }
};

struct Embedding {
  Tensor w;             // [V, H]
  float scale = 1.0f;   // rounded to bfloat16 when the model runs in it, as it was trained
  std::array<int32_t, 3> aliases{-1, -1, -1};  // ids whose row is that of alias_of
  int32_t alias_of = 0;
  Tensor operator()(Ctx& c, Tensor ids) const {  // [T] -> [T, H]
    Tensor y = c.temp({ids.numel(), w.dim[1]});
    c.run(Gather{w, ids, y, c.round_x ? bf16_to_f32(f32_to_bf16(scale)) : scale, aliases, alias_of});
    return y;
  }
};

inline Tensor gather_rows(Ctx& c, Tensor x, Tensor rows) {  // [T, n], [R] -> [R, n]
  Tensor y = c.temp({rows.numel(), x.cols()});
  c.run(Gather{x, rows, y, 1.0f});
  return y;
}
// Rows of images in place of the embeddings of the tokens that stand for them.
inline void splice_images(Ctx& c, Tensor x) {  // [T, H]
  if (c.batch.image_rows) c.run(SpliceRows{x, c.batch.images, c.batch.image_rows});
}
inline Tensor act_mul(Ctx& c, Tensor gate, Tensor up, Act act) {  // any leading dimensions; the result is contiguous
  Tensor y = gate.rank == 3 ? c.temp({gate.dim[0], gate.dim[1], gate.dim[2]}) : c.temp({gate.rows(), gate.cols()});
  c.run(ActMul{gate, up, y, act});
  return y;
}
// Columns [from, from + n) of a matrix, as a view.
inline Tensor columns(Tensor x, int64_t from, int64_t n) {
  CHECK(x.rank == 2 && from + n <= x.dim[1], from, n, x.dim[1]);
  x.data = x.data ? x.as() + from : nullptr;
  x.dim[1] = n;
  return x;
}
// n heads of dim, from column `from` on, as a view [T, n, dim].
inline Tensor heads(Tensor x, int64_t from, int64_t n, int64_t dim) {
  Tensor y = columns(x, from, n * dim);
  y.rank = 3;
  y.dim = {x.dim[0], n, dim, 1};
  y.stride = {x.stride[0], dim, 1, 1};
  return y;
}
// Dimensions [from, from + n) of each head, as a view.
inline Tensor head_part(Tensor x, int64_t from, int64_t n) {
  CHECK(x.rank == 3 && from + n <= x.dim[2], from, n, x.dim[2]);
  x.data = x.data ? x.as() + from : nullptr;
  x.dim[2] = n;
  return x;
}
inline Tensor as_heads(Tensor x, int64_t n) { return heads(x, 0, n, x.cols() / n); }  // [T, n * dim] -> [T, n, dim]
inline Tensor flat_heads(Tensor x) {  // contiguous [T, n, dim] -> [T, n * dim]
  CHECK(x.rank == 3 && x.contiguous());
  return make_tensor(x.data, x.dtype, {x.dim[0], x.dim[1] * x.dim[2]});
}

// gate and up in one product, down of act(gate) * up.
struct GatedMlp {
  Linear gate_up, down;
  Act act = Act::kSilu;
  Tensor operator()(Ctx& c, Tensor x) const {
    Tensor gu = gate_up(c, x);
    const int64_t n = gu.cols() / 2;
    return down(c, columns(gu, 0, n), columns(gu, n, n), act);
  }
  void params(ParamList& p, const std::string& prefix, int64_t hidden, int64_t ffn) {
    p.fused(prefix + "gate_up_proj.weight", gate_up.w, hidden, {{prefix + "gate_proj.weight", ffn}, {prefix + "up_proj.weight", ffn}});
    p.matrix(prefix + "down_proj.weight", down.w, hidden, ffn);
  }
};

// Rotary positions of one kind of layer. table() once a step, rope() in each layer.
struct RopeKind {
  Tensor inv_freq;            // [R] f32
  std::vector<float> values;  // of inv_freq
  float gain = 1.0f;
  Tensor axis;                // [R] i32, or empty: one axis
  std::vector<int32_t> axes;  // of axis
  Tensor table(Ctx& c) const { return table(c, axes.empty() ? c.batch.positions : c.batch.rope_positions); }
  Tensor table(Ctx& c, Tensor positions) const {  // [T] or [A, T]
    Tensor y = c.temp({positions.dim[size_t(positions.rank) - 1], 2, inv_freq.numel()});
    c.run(RopeTable{positions, inv_freq, y, gain, axis});
    return y;
  }
  void params(ParamList& p, const std::string& name) {
    if (values.empty()) return;
    p.constant(name, inv_freq, values);
    if (!axes.empty()) p.integers(name + "_axis", axis, axes);
  }
};
// rope_parameters of a config, or what old files spell as rope_scaling, rope_theta and partial_rotary_factor.
Config rope_config(const Config& c);
// For a head of `dim`: rope types default, linear, proportional, llama3 and yarn (specs/common.md 5.2). max_position: what
// yarn stretches to when the config gives no factor, and from when it gives no original length.
RopeKind make_rope(const Config& rope, int64_t dim, double default_theta, int64_t max_position = 0);
double yarn_scale(double factor, double mscale);  // g of specs/common.md 5.2
inline void rope(Ctx& c, Tensor x, Tensor table, bool interleaved = false) { c.run(Rope{x, table, x, interleaved}); }  // in place

// Attention over whatever its layer declared.
struct PagedAttention {
  int heads = 0, kv_heads = 0, dim = 0, window = 0;  // window in tokens, 0: full
  float scale = 1.0f;
  CacheRef cache;
  Tensor sinks;  // [heads] or empty
  QkvStore::HeadNorm q_norm, k_norm, v_norm;
  float eps = 1e-6f, w_offset = 0.0f;  // of these norms
  bool whole_images = false;           // tokens of an image see each other in both directions

  void declare(CacheLayout& layout) {
    const int padded = int(round_up(dim, KvCache::kLane));
    cache = window > 0 ? layout.window_kv(kv_heads, padded, window) : layout.kv(kv_heads, padded);
  }
  // q [T, heads, dim], overwritten; k and v [T, kv_heads, dim] as projected, or both empty to read what another layer stored.
  // Returns [T, heads * dim].
  Tensor operator()(Ctx& c, Tensor q, Tensor k, Tensor v, Tensor rope_table) const {
    const Batch::Group& group = c.batch.groups[size_t(cache.group)];
    QkvStore a{q, k, v, q_norm, {}, {}, rope_table, {}, {}, q, eps, w_offset};
    if (k.rank) a.k_norm = k_norm, a.v_norm = v_norm, a.slots = group.slots, a.cache = kv(c);
    c.run(a);
    Tensor y = c.temp({q.dim[0], heads, dim});
    c.run(Attention{q, kv(c), group.table, c.batch.cu_q, c.batch.kv_len, y, scale, window, sinks, whole_images ? c.batch.limits : Tensor{}});
    return flat_heads(y);
  }
  // Of one product: queries, then keys, then values.
  Tensor operator()(Ctx& c, Tensor qkv, Tensor rope_table) const {
    const auto part = [&](int64_t from, int64_t n) { return xylem::heads(qkv, from * dim, n, dim); };
    return (*this)(c, part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads), rope_table);
  }

 private:
  KvCache kv(Ctx& c) const {
    KvCache k{c.pools[size_t(cache.group)], 0, kv_heads, dim, c.block_tokens};
    k.offset = cache.layer * kv_heads * k.head_elements();
    return k;
  }
};

// Latents and a rotary part instead of keys and values (specs/deepseek_mla.md 4).
struct LatentAttentionBlock {
  int heads = 0, rank = 0, nope_dim = 0, rope_dim = 0, v_dim = 0;
  float scale = 1.0f;
  Tensor w_uk, w_uk_t, w_uv;  // see ops/latent_attention
  CacheRef cache;

  void declare(CacheLayout& layout) { cache = layout.latent(rank + rope_dim); }
  void params(ParamList& p, const std::string& kv_b) {
    const int64_t rows = nope_dim + v_dim;
    p.heads(kv_b, w_uk, heads, nope_dim, rank, {rows, 0, false});
    p.heads(kv_b, w_uk_t, heads, nope_dim, rank, {rows, 0, true});
    p.heads(kv_b, w_uv, heads, v_dim, rank, {rows, nope_dim, false});
  }
  void store(Ctx& c, Tensor latent, Tensor k_rope) const {  // [T, rank], [T, rope_dim]
    c.run(LatentStore{latent, k_rope, c.batch.groups[size_t(cache.group)].slots, latents(c)});
  }
  Tensor operator()(Ctx& c, Tensor q) const {  // [T, heads, nope_dim + rope_dim] -> [T, heads * v_dim]
    Tensor y = c.temp({q.dim[0], heads, v_dim});
    c.run(LatentAttention{q, w_uk, w_uk_t, w_uv, latents(c), c.batch.groups[size_t(cache.group)].table, c.batch.cu_q, c.batch.kv_len, y, scale});
    return flat_heads(y);
  }

 private:
  LatentCache latents(Ctx& c) const {
    LatentCache k{c.pools[size_t(cache.group)], 0, rank, rope_dim, c.block_tokens};
    k.offset = cache.layer * k.width() * c.block_tokens;
    return k;
  }
};

// A short convolution and the gated delta rule, with the state of both (specs/qwen3_5.md 5, kimi_linear.md 4).
struct DeltaRule {
  int64_t key_heads = 0, heads = 0, key_dim = 0, dim = 0, taps = 0;
  Tensor conv;            // [channels, taps]
  Tensor a_log, dt_bias;  // [heads]; [heads] or [heads * key_dim]
  CacheRef cache;

  int64_t channels() const { return 2 * key_heads * key_dim + heads * dim; }  // q, k, v
  void declare(CacheLayout& layout) { cache = layout.state(size_t(state_floats()) * sizeof(float)); }
  // qkv: [T, channels]; a: [T, heads] or [T, heads * key_dim]; b: [T, heads]. Returns [T, heads, dim].
  Tensor operator()(Ctx& c, Tensor qkv, Tensor a, Tensor b) const {
    Tensor y = c.temp({qkv.rows(), heads, dim});
    if (qkv.rows() == c.batch.kv_len.numel()) {  // one token a row
      c.run(DeltaStep{qkv, conv, a, b, a_log, dt_bias, state(c, 0), conv_floats(), key_heads, y});
      if (!c.dry) return y;  // else fewer rows may share out as many tokens
    }
    Tensor x = c.temp({qkv.rows(), channels()});
    c.run(CausalConv{qkv, conv, state(c, 0), x});
    c.run(GatedDelta{xylem::heads(x, 0, key_heads, key_dim), xylem::heads(x, key_heads * key_dim, key_heads, key_dim),
                     xylem::heads(x, 2 * key_heads * key_dim, heads, dim), a, b, a_log, dt_bias, state(c, conv_floats()), y});
    return y;
  }

 private:
  int64_t conv_floats() const { return round_up(taps * channels(), 16); }
  int64_t state_floats() const { return conv_floats() + round_up(heads * key_dim * dim, 16); }
  StateCache state(Ctx& c, int64_t from) const {
    const Batch::Group& g = c.batch.groups[size_t(cache.group)];
    return {c.pools[size_t(cache.group)], cache.layer * state_floats() + from, c.block_tokens, g.state_in, g.table, c.batch.cu_q, c.batch.kv_len};
  }
};

// Routed experts. The router's logits come from the model, since families differ in what it reads.
struct Moe {
  Tensor gate_up;                  // [E, 2I, H] packed
  Tensor down;                     // [E, H, I] packed
  Tensor gate_up_bias, down_bias;  // [E, 2I], [E, H] or empty
  Tensor expert_scale;             // [E] or empty
  Tensor choice_bias;              // [E] or empty: added to the scores for the choice alone
  int top_k = 1;
  bool renormalise = true;
  Router::Score score = Router::Score::kSoftmax;
  Router::GroupScore group_score = Router::GroupScore::kMax;
  int groups = 1, top_groups = 1;
  float scale = 1.0f;
  Act act = Act::kSilu;
  float limit = 0;
  Tensor operator()(Ctx& c, Tensor x, Tensor logits) const {
    const int64_t T = x.rows();
    Tensor ids = c.temp({T, top_k}, DType::kI32), weights = c.temp({T, top_k}), y = c.temp({T, x.cols()});
    c.run(Router{logits, expert_scale, ids, weights, renormalise, score, group_score, groups, top_groups, scale, choice_bias});
    c.run(MoeExperts{x, ids, weights, gate_up, down, y, act, c.round_x, limit, gate_up_bias, down_bias});
    return y;
  }
  // Fused over the experts, or a tensor for each of them under the names given.
  void params(ParamList& p, const std::string& n, int64_t experts, int64_t hidden, int64_t ffn, const std::string& gate = "gate_proj",
              const std::string& up = "up_proj", const std::string& down_name = "down_proj") {
    const std::string e = n + "experts.{e}.";
    p.experts(n + "experts.gate_up_proj", gate_up, experts, 2 * ffn, hidden, {{e + gate + ".weight", ffn}, {e + up + ".weight", ffn}});
    p.experts(n + "experts.down_proj", down, experts, hidden, ffn, {{e + down_name + ".weight", hidden}});
  }
};

// What stands before and after the layers of a decoder.
struct DecoderEnds {
  int64_t vocab = 0, hidden = 0;
  bool tied = false;
  Embedding embed;
  Norm norm;
  Linear head;
  void front_params(ParamList& p) {
    if (!tied) return p.table("embed_tokens.weight", embed.w, vocab, hidden);
    p.logits_only(true);  // rows of it are gathered; as a product it runs for the logits alone
    p.matrix("embed_tokens.weight", embed.w, vocab, hidden);
    p.logits_only(false);
  }
  void back_params(ParamList& p) {
    p.logits_only(true);
    p.vector("norm.weight", norm.w, hidden);
    if (tied) p.tied("/lm_head.weight", head.w, vocab, hidden, embed.w);
    else p.matrix("/lm_head.weight", head.w, vocab, hidden);
  }
  // x: [T, H] after `layers` layers; empty when no logits are wanted
  Tensor logits(Ctx& c, Tensor x, size_t layers) const {
    if (c.batch.logit_rows.numel() == 0) return {};
    Tensor y = norm(c, gather_rows(c, x, c.batch.logit_rows));
    c.hidden(int(layers), y);
    return head(c, y);
  }
};

}  // namespace xylem
