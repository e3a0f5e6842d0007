// The plain decoders: Llama 3, Mistral, Qwen2.5, Qwen3 dense and MoE. Pre-norm, grouped-query attention, SwiGLU; they differ in
// biases, norms on query and key heads, sliding windows and experts.
#include "nn/decoder.h"

namespace xylem {
namespace {

// What a family does that its config does not say.
struct Traits {
  bool qk_norm = false;
  bool qkv_bias = false;
  int64_t head_dim = 0;  // when the config has none; 0: hidden_size / num_attention_heads
  // Which layers a sliding_window is for: every one, or only with use_sliding_window, and then perhaps those from
  // max_window_layers on. layer_types, if there are any, decide instead.
  enum class Window { kNone, kAll, kAllIfAsked, kLastIfAsked } window = Window::kNone;
};

struct Shape {
  int64_t hidden, vocab, layers, context;
  int heads, kv_heads, dim;
  float eps;
  bool qkv_bias, o_bias, qk_norm;
  int64_t ffn, experts = 0, top_k = 0, moe_ffn = 0;
  bool renormalise = false;
  std::vector<int> window;    // of each layer, 0: full
  std::vector<bool> sparse;

  Shape(const Config& c, const Traits& t)
      : hidden(c.integer("hidden_size")), vocab(c.integer("vocab_size")), layers(c.integer("num_hidden_layers", 1, 4096)),
        context(c.integer_or("max_position_embeddings", 32768, 1)), heads(int(c.integer("num_attention_heads", 1, 4096))),
        kv_heads(int(c.integer_or("num_key_value_heads", heads, 1, heads))), dim(int(c.integer_or("head_dim", t.head_dim ? t.head_dim : hidden / heads, 1, 1024))),
        eps(float(c.number_or("rms_norm_eps", 1e-6))), qkv_bias(t.qkv_bias || c.flag_or("attention_bias", false)),
        o_bias(!t.qkv_bias && qkv_bias), qk_norm(t.qk_norm), ffn(c.integer("intermediate_size")) {
    if (dim < 1) c.fail("hidden_size " + std::to_string(hidden) + " is too small for num_attention_heads " + std::to_string(heads));
    c.require_multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads);
    if (c.flag_or("mlp_bias", false)) c.fail("mlp_bias is not supported");
    if (c.text_or("hidden_act", "silu") != "silu") c.fail("hidden_act must be silu");
    read_windows(c, t);
    read_experts(c);
  }

 private:
  void read_windows(const Config& c, const Traits& t) {
    using enum Traits::Window;
    window.assign(size_t(layers), 0);
    if (t.window == kNone) return;
    const bool listed = c.has("layer_types");
    const std::vector<bool> sliding = listed ? c.layer_kinds("layer_types", layers, "sliding_attention", "full_attention") : std::vector<bool>{};
    if (!c.has("sliding_window") || (t.window != kAll && !c.flag_or("use_sliding_window", false))) return;
    const int width = int(c.integer("sliding_window"));
    const int64_t first = t.window == kLastIfAsked ? c.integer_or("max_window_layers", 28) : 0;
    for (int64_t i = 0; i < layers; i++)
      if (listed ? sliding[size_t(i)] : i >= first) window[size_t(i)] = width;
  }
  void read_experts(const Config& c) {
    sparse.assign(size_t(layers), false);
    const char* key = c.has("num_experts") ? "num_experts" : "num_local_experts";  // as transformers 5 saves it
    if (!c.has(key)) return;
    experts = c.integer(key, 1, 65536), top_k = c.integer("num_experts_per_tok", 1, experts), moe_ffn = c.integer("moe_intermediate_size");
    renormalise = c.flag_or("norm_topk_prob", false);
    const int64_t step = c.integer_or("decoder_sparse_step", 1, 1);
    for (int64_t i = 0; i < layers; i++) sparse[size_t(i)] = (i + 1) % step == 0;
    for (int64_t i : c.integers_or_none("mlp_only_layers"))
      if (i >= 0 && i < layers) sparse[size_t(i)] = false;
  }
};

struct Layer {
  Norm in_norm, post_norm;
  Linear qkv, o, router;
  PagedAttention attn;
  GatedMlp mlp;
  Moe moe;
  bool sparse = false;

  void operator()(Ctx& c, const Residual& r, const Norm* next, Tensor rope_table, const Shape&) const {
    const ArenaScope scope(c);
    r.add(c, o(c, attn(c, qkv(c, r.h), rope_table)), &post_norm);
    r.add(c, sparse ? moe(c, r.h, router(c, r.h)) : mlp(c, r.h), next);
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    const int64_t q = f.heads * f.dim, kv = f.kv_heads * f.dim;
    const std::string a = n + "self_attn.";
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_norm.w, f.hidden);
    if (f.qk_norm) p.vector(a + "q_norm.weight", attn.q_norm.w, f.dim), p.vector(a + "k_norm.weight", attn.k_norm.w, f.dim);
    p.fused(a + "qkv_proj.weight", qkv.w, f.hidden, {{a + "q_proj.weight", q}, {a + "k_proj.weight", kv}, {a + "v_proj.weight", kv}});
    if (f.qkv_bias) p.floats(a + "qkv_proj.bias", qkv.bias, {q + 2 * kv}, {{a + "q_proj.bias", q}, {a + "k_proj.bias", kv}, {a + "v_proj.bias", kv}});
    p.matrix(a + "o_proj.weight", o.w, f.hidden, q);
    if (f.o_bias) p.floats(a + "o_proj.bias", o.bias, {f.hidden});
    if (!sparse) return mlp.params(p, n + "mlp.", f.hidden, f.ffn);
    p.matrix(n + "mlp.gate.weight", router.w, f.experts, f.hidden);
    moe.params(p, n + "mlp.", f.experts, f.hidden, f.moe_ffn);
  }
};

std::unique_ptr<Model> make_llama(const Config& c, const ModelOptions& options, const Traits& traits) {
  auto model = std::make_unique<Decoder<Shape, Layer>>(Shape(c, traits), options);
  const Shape& f = model->f;
  if (!c.status().ok()) return model;
  model->rope = make_rope(rope_config(c), f.dim, 1e4, f.context);
  model->ends.tied = c.flag_or("tie_word_embeddings", false), model->ends.norm.eps = f.eps;
  for (size_t i = 0; i < model->layers.size(); i++) {
    Layer& l = model->layers[i];
    l.in_norm.eps = l.post_norm.eps = f.eps;
    l.sparse = f.sparse[i];
    l.moe.top_k = int(f.top_k), l.moe.renormalise = f.renormalise;
    l.attn = {f.heads, f.kv_heads, f.dim, f.window[i], 1.0f / std::sqrt(float(f.dim)), {}, {}};
    l.attn.q_norm.on = l.attn.k_norm.on = f.qk_norm, l.attn.eps = f.eps;
    l.attn.declare(model->layout);
  }
  return model;
}

constexpr Traits kLlama{}, kMistral{.window = Traits::Window::kAll}, kQwen2{.qkv_bias = true, .window = Traits::Window::kLastIfAsked},
    kQwen3{.qk_norm = true, .head_dim = 128, .window = Traits::Window::kLastIfAsked}, kQwen3Moe{.qk_norm = true, .window = Traits::Window::kAllIfAsked};
template <const Traits& kTraits>
std::unique_ptr<Model> make(const Config& c, const ModelOptions& o) { return make_llama(c, o, kTraits); }

const RegisterModel llama({{"LlamaForCausalLM"}, {"llama"}, make<kLlama>,
                           {R"({"model_type": "llama", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
                              "intermediate_size": 64, "vocab_size": 97, "rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 512,
                              "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64}})"}});
const RegisterModel mistral({{"MistralForCausalLM"}, {"mistral"}, make<kMistral>,
                             {R"({"model_type": "mistral", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24,
                                "intermediate_size": 64, "vocab_size": 97, "rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 512, "sliding_window": 40})"}});
const RegisterModel qwen2({{"Qwen2ForCausalLM"}, {"qwen2"}, make<kQwen2>,
                           {R"({"model_type": "qwen2", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64,
                              "vocab_size": 97, "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 512, "tie_word_embeddings": true,
                              "use_sliding_window": true, "sliding_window": 48, "max_window_layers": 2})"}});
const RegisterModel qwen3({{"Qwen3ForCausalLM"}, {"qwen3"}, make<kQwen3>,
                           {R"({"model_type": "qwen3", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                              "intermediate_size": 64, "vocab_size": 97, "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 512})"}});
const RegisterModel qwen3_moe({{"Qwen3MoeForCausalLM"}, {"qwen3_moe"}, make<kQwen3Moe>,
                               {R"({"model_type": "qwen3_moe", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                                  "intermediate_size": 64, "moe_intermediate_size": 24, "num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": true, "mlp_only_layers": [1],
                                  "vocab_size": 97, "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 512})"}});

}  // namespace
}  // namespace xylem
