// GPT-OSS (specs/gpt_oss.md): attention sinks in alternating sliding and full layers, biases everywhere, and experts with a
// clamped SwiGLU whose gate and up rows alternate in the file.
#include "nn/decoder.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, ffn, vocab, layers, context, experts, top_k;
  int heads, kv_heads, dim, window;
  float eps, limit;
  bool bias;
  std::vector<bool> sliding;

  explicit Shape(const Config& c)
      : hidden(c.integer("hidden_size")), ffn(c.integer("intermediate_size")), vocab(c.integer("vocab_size")), layers(c.integer("num_hidden_layers", 1, 4096)),
        context(c.integer_or("max_position_embeddings", 131072, 1)), experts(c.integer("num_local_experts", 1, 65536)),
        top_k(c.integer_or("num_experts_per_tok", c.integer_or("experts_per_token", 4, 1, experts), 1, experts)),
        heads(int(c.integer("num_attention_heads", 1, 4096))), kv_heads(int(c.integer_or("num_key_value_heads", heads, 1, heads))),
        dim(int(c.integer_or("head_dim", 64, 1, 1024))), window(int(c.integer_or("sliding_window", 128, 1))), eps(float(c.number_or("rms_norm_eps", 1e-5))),
        limit(float(c.number_or("swiglu_limit", 7))), bias(c.flag_or("attention_bias", true)) {
    c.require_multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads);
    if (c.has("layer_types")) sliding = c.layer_kinds("layer_types", layers, "sliding_attention", "full_attention");
    else
      for (int64_t i = 0; i < layers; i++) sliding.push_back(i % 2 == 0);
  }
};

struct Layer {
  Norm in_norm, post_norm;
  Linear qkv, o, router;
  PagedAttention attn;
  Moe moe;

  void operator()(Ctx& c, const Residual& r, const Norm* next, Tensor rope_table, const Shape&) const {
    const ArenaScope scope(c);
    r.add(c, o(c, attn(c, qkv(c, r.h), rope_table)), &post_norm);
    r.add(c, moe(c, r.h, router(c, r.h)), next);
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    const int64_t q = f.heads * f.dim, kv = f.kv_heads * f.dim;
    const std::string a = n + "self_attn.", m = n + "mlp.";
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_norm.w, f.hidden);
    p.fused(a + "qkv_proj.weight", qkv.w, f.hidden, {{a + "q_proj.weight", q}, {a + "k_proj.weight", kv}, {a + "v_proj.weight", kv}});
    p.matrix(a + "o_proj.weight", o.w, f.hidden, q);
    if (f.bias) {
      p.floats(a + "qkv_proj.bias", qkv.bias, {q + 2 * kv}, {{a + "q_proj.bias", q}, {a + "k_proj.bias", kv}, {a + "v_proj.bias", kv}});
      p.floats(a + "o_proj.bias", o.bias, {f.hidden});
    }
    p.floats(a + "sinks", attn.sinks, {f.heads}).dummy_spread = 1.0f;
    p.matrix(m + "router.weight", router.w, f.experts, f.hidden);
    p.floats(m + "router.bias", router.bias, {f.experts});
    Param& gate_up = p.experts(m + "experts.gate_up_proj", moe.gate_up, f.experts, 2 * f.ffn, f.hidden, {});
    gate_up.input_first = gate_up.interleaved = true;
    p.floats(m + "experts.gate_up_proj_bias", moe.gate_up_bias, {f.experts, 2 * f.ffn}).interleaved = true;
    p.experts(m + "experts.down_proj", moe.down, f.experts, f.hidden, f.ffn, {}).input_first = true;
    p.floats(m + "experts.down_proj_bias", moe.down_bias, {f.experts, f.hidden});
  }
};

std::unique_ptr<Model> make(const Config& c, const ModelOptions& options) {
  auto model = std::make_unique<Decoder<Shape, Layer>>(Shape(c), options);
  const Shape& f = model->f;
  if (!c.status().ok()) return model;
  model->rope = make_rope(rope_config(c), f.dim, 150000, f.context);
  model->ends.tied = c.flag_or("tie_word_embeddings", false), model->ends.norm.eps = f.eps;
  for (size_t i = 0; i < model->layers.size(); i++) {
    Layer& l = model->layers[i];
    l.in_norm.eps = l.post_norm.eps = f.eps;
    l.attn = {f.heads, f.kv_heads, f.dim, f.sliding[i] ? f.window : 0, 1.0f / std::sqrt(float(f.dim)), {}, {}};
    l.attn.declare(model->layout);
    l.moe.top_k = int(f.top_k), l.moe.act = Act::kClampedSwiglu, l.moe.limit = f.limit;
  }
  model->no_float16 = "its activations grow beyond 65504, the largest float16 number";
  return model;
}

std::string tiny(const std::string& more) {
  return R"({"model_type": "gpt_oss", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 24,
             "intermediate_size": 32, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 40, "vocab_size": 97, "max_position_embeddings": 512,
             "rope_theta": 10000, "rope_scaling": {"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 64, "truncate": false})" + more + "}";
}
const RegisterModel reg({{"GptOssForCausalLM"},
                         {"gpt_oss"},
                         make,
                         {tiny(""), tiny(R"(, "quantization_config": {"quant_method": "mxfp4"})")}});

}  // namespace
}  // namespace xylem
