// Kimi-Linear (specs/kimi_linear.md): Kimi Delta Attention, a layer of latent attention without rotation every few layers, and
// experts with a shared one.
#include "nn/decoder.h"
#include "nn/mla.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, vocab, layers, context, ffn, experts, top_k, moe_ffn, shared_ffn;
  int64_t heads, dim, taps;  // of the delta rule
  float eps;
  std::vector<bool> full, sparse;

  explicit Shape(const Config& c)
      : hidden(c.integer("hidden_size")), vocab(c.integer("vocab_size")), layers(c.integer("num_hidden_layers", 1, 4096)),
        context(c.integer_or("model_max_length", c.integer_or("max_position_embeddings", 1048576, 1), 1)), ffn(c.integer("intermediate_size")),
        experts(c.integer("num_experts", 1, 65536)), top_k(c.integer("num_experts_per_token", 1, experts)), moe_ffn(c.integer("moe_intermediate_size")),
        shared_ffn(c.integer_or("num_shared_experts", 1) * moe_ffn), eps(float(c.number_or("rms_norm_eps", 1e-5))) {
    const Config linear = c.child("linear_attn_config");
    heads = linear.integer_or("num_heads", c.integer_or("linear_num_heads", 32, 1, 4096), 1, 4096);
    dim = linear.integer_or("head_dim", c.integer_or("linear_head_dim", 128, 1, 1024), 1, 1024);
    taps = linear.integer_or("short_conv_kernel_size", c.integer_or("linear_conv_kernel_dim", 4, 1, 64), 1, 64);
    if (c.has("layer_types")) full = c.layer_kinds("layer_types", layers, "full_attention", "linear_attention");
    else if (linear.has("kda_layers")) read_one_based(c, linear);
    else c.fail("neither layer_types nor linear_attn_config.kda_layers says which layers are linear");
    if (c.has("mlp_layer_types")) sparse = c.layer_kinds("mlp_layer_types", layers, "sparse", "dense");
    else
      for (int64_t i = 0; i < layers; i++) sparse.push_back(i >= c.integer_or("first_k_dense_replace", 1) && i % c.integer_or("moe_layer_freq", 1, 1) == 0);
    if (!c.flag_or("mla_use_nope", true)) c.fail("mla_use_nope false is not supported");
    if (const std::string f = c.text_or("moe_router_activation_func", "sigmoid"); f != "sigmoid") c.fail("moe_router_activation_func '" + f + "' is not supported (sigmoid is)");
    if (c.text_or("hidden_act", "silu") != "silu") c.fail("hidden_act must be silu");
    for (const char* key : {"gate_lower_bound", "latent_moe_dim"})
      if (c.has(key)) c.fail(std::string("'") + key + "' belongs to a later model and is not supported");
  }

 private:
  void read_one_based(const Config& c, const Config& linear) {
    full.assign(size_t(layers), true);
    for (int64_t i : linear.integers_or_none("kda_layers")) {
      if (i < 1 || i > layers) return c.fail("kda_layers holds " + std::to_string(i) + ", expected 1 to " + std::to_string(layers));
      full[size_t(i - 1)] = false;
    }
    for (int64_t i : linear.integers_or_none("full_attn_layers"))
      if (i < 1 || i > layers || !full[size_t(i - 1)]) return c.fail("kda_layers and full_attn_layers do not share out the layers");
  }
};

// Decay, step size and output gate come from low-rank projections of the layer's input.
struct Kda {
  Linear in, f_b, g_b, o;  // in: q, k, v, low-rank decay, low-rank gate and step size in one product
  Norm norm;
  DeltaRule delta;

  Tensor operator()(Ctx& c, Tensor x, const Shape& f) const {
    Tensor p = in(c, x);
    const int64_t f_at = delta.channels(), g_at = f_at + f.dim, b_at = g_at + f.dim;
    Tensor decay = f_b(c, columns(p, f_at, f.dim)), gate = g_b(c, columns(p, g_at, f.dim));
    Tensor y = norm(c, delta(c, columns(p, 0, delta.channels()), decay, columns(p, b_at, f.heads)));
    return o(c, flat_heads(act_mul(c, as_heads(gate, f.heads), y, Act::kSigmoid)));
  }
  void params(ParamList& p, const std::string& n, const Shape& f) {
    const int64_t d = f.heads * f.dim;
    p.fused(n + "in_proj.weight", in.w, f.hidden,
            {{n + "q_proj.weight", d}, {n + "k_proj.weight", d}, {n + "v_proj.weight", d}, {n + "f_a_proj.weight", f.dim}, {n + "g_a_proj.weight", f.dim},
             {n + "b_proj.weight", f.heads}});
    p.floats(n + "conv1d.weight", delta.conv, {3 * d, f.taps}, {{n + "q_conv1d.weight", d}, {n + "k_conv1d.weight", d}, {n + "v_conv1d.weight", d}}).dummy_spread = 0.5f;
    p.floats(n + "A_log", delta.a_log, {f.heads});
    p.floats(n + "dt_bias", delta.dt_bias, {d});
    p.matrix(n + "f_b_proj.weight", f_b.w, d, f.dim);
    p.matrix(n + "g_b_proj.weight", g_b.w, d, f.dim);
    p.vector(n + "o_norm.weight", norm.w, f.dim);
    p.matrix(n + "o_proj.weight", o.w, f.hidden, d);
  }
};

struct Layer {
  bool full = false, sparse = false;
  Norm in_norm, post_norm;
  Kda kda;
  Mla mla;
  GatedMlp mlp;
  Linear router;
  Moe moe;
  GatedMlp shared;

  void operator()(Ctx& c, const Residual& r, const Norm* next, Tensor, const Shape& f) const {  // nothing is rotated
    const ArenaScope scope(c);
    r.add(c, full ? mla(c, r.h, {}) : kda(c, r.h, f), &post_norm);
    if (!sparse) return r.add(c, mlp(c, r.h), next);
    r.add(c, moe(c, r.h, router(c, r.h)), next, {.other = shared.down.w ? shared(c, r.h) : Tensor{}});
  }
  void params(ParamList& p, const std::string& n, const Shape& f) {
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_norm.w, f.hidden);
    if (full) mla.params(p, n + "self_attn.");
    else kda.params(p, n + "self_attn.", f);
    p.also(".mlp.", ".block_sparse_moe.");  // files name even the dense layers so
    if (!sparse) return mlp.params(p, n + "mlp.", f.hidden, f.ffn);
    p.matrix(n + "mlp.gate.weight", router.w, f.experts, f.hidden);
    p.floats(n + "mlp.gate.e_score_correction_bias", moe.choice_bias, {f.experts});
    moe.params(p, n + "mlp.", f.experts, f.hidden, f.moe_ffn, "w1", "w3", "w2");
    if (f.shared_ffn) shared.params(p, n + "mlp.shared_experts.", f.hidden, f.shared_ffn);
  }
};

std::unique_ptr<Model> make(const Config& c, const ModelOptions& options) {
  auto model = std::make_unique<Decoder<Shape, Layer>>(Shape(c), options);
  const Shape& f = model->f;
  Mla mla;
  mla.read(c);
  Moe moe;
  moe.top_k = int(f.top_k), moe.score = Router::Score::kSigmoid, moe.group_score = Router::GroupScore::kTopTwo;
  moe.renormalise = c.flag_or("moe_renormalize", true), moe.scale = float(c.number_or("routed_scaling_factor", 1));
  moe.groups = int(c.integer_or("num_expert_group", 1, 1, f.experts)), moe.top_groups = int(c.integer_or("topk_group", 1, 1, moe.groups));
  if (f.experts % moe.groups || f.top_k > f.experts / moe.groups * moe.top_groups) c.fail("num_expert_group and topk_group do not fit num_experts");
  if (!c.status().ok()) return model;
  model->ends.tied = c.flag_or("tie_word_embeddings", false), model->ends.norm.eps = f.eps;
  for (size_t i = 0; i < model->layers.size(); i++) {
    Layer& l = model->layers[i];
    l.full = f.full[i], l.sparse = f.sparse[i];
    l.in_norm.eps = l.post_norm.eps = l.kda.norm.eps = f.eps;
    l.moe = moe, l.router.exact = true;
    l.mla = mla;
    DeltaRule& d = l.kda.delta;
    d.key_heads = d.heads = f.heads, d.key_dim = d.dim = f.dim, d.taps = f.taps;
    if (l.full) l.mla.attn.declare(model->layout);
    else d.declare(model->layout);
  }
  model->unused_names = {{"model.mtp", "multi-token prediction"}};
  return model;
}

const RegisterModel reg({{"KimiLinearForCausalLM"},
                         {"kimi_linear"},
                         make,
                         {R"({"model_type": "kimi_linear", "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "kv_lora_rank": 32, "qk_nope_head_dim": 16,
                            "qk_rope_head_dim": 8, "v_head_dim": 16, "intermediate_size": 64, "moe_intermediate_size": 24, "num_experts": 6, "num_experts_per_token": 2,
                            "num_shared_experts": 1, "routed_scaling_factor": 1.5, "vocab_size": 97, "model_max_length": 512,
                            "linear_attn_config": {"kda_layers": [1, 2, 4], "full_attn_layers": [3], "num_heads": 3, "head_dim": 20, "short_conv_kernel_size": 4}})"}});

}  // namespace
}  // namespace xylem
