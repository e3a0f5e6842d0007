// Qwen3 dense: grouped-query attention with a norm on each query and key head, SwiGLU, tied or untied head.
#include "nn/blocks.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, ffn, vocab, layers, context;
  int heads, kv_heads, dim;
  float eps;
  bool tied;
  explicit Shape(const Config& c)
      : hidden(c.integer("hidden_size")), ffn(c.integer("intermediate_size")), vocab(c.integer("vocab_size")), layers(c.integer("num_hidden_layers", 1, 4096)),
        context(c.integer_or("max_position_embeddings", 40960, 1)), heads(int(c.integer("num_attention_heads", 1, 4096))),
        kv_heads(int(c.integer_or("num_key_value_heads", heads, 1, heads))), dim(int(c.integer_or("head_dim", hidden / heads, 1, 4096))),
        eps(float(c.number_or("rms_norm_eps", 1e-6))), tied(c.flag_or("tie_word_embeddings", false)) {
    if (heads % kv_heads) c.fail("num_attention_heads is not a multiple of num_key_value_heads");
    if (c.flag_or("attention_bias", false)) c.fail("attention_bias is not supported");
    if (c.flag_or("use_sliding_window", false)) c.fail("use_sliding_window is not supported");
    if (c.text_or("hidden_act", "silu") != "silu") c.fail("hidden_act must be silu");
  }
};

struct Layer {
  Norm in_norm, post_norm, q_norm, k_norm;
  Linear qkv, o;
  PagedAttention attn;
  GatedMlp mlp;

  void operator()(Ctx& c, Tensor x, Tensor rope_table, const Shape& f) const {  // x: [T, H], in place
    const ArenaScope scope(c);
    Tensor p = qkv(c, in_norm(c, x));
    Tensor q = q_norm(c, heads(p, 0, f.heads, f.dim));
    Tensor k = k_norm(c, heads(p, f.heads * f.dim, f.kv_heads, f.dim));
    Tensor v = heads(p, (f.heads + f.kv_heads) * f.dim, f.kv_heads, f.dim);
    rope(c, q, rope_table);
    rope(c, k, rope_table);
    attn.store(c, k, v);
    add_to(c, x, o(c, attn(c, q)));
    add_to(c, x, mlp(c, post_norm(c, x)));
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_norm.w, f.hidden);
    p.vector(n + "self_attn.q_norm.weight", q_norm.w, f.dim);
    p.vector(n + "self_attn.k_norm.weight", k_norm.w, f.dim);
    p.fused(n + "self_attn.qkv_proj.weight", qkv.w, f.hidden,
            {{n + "self_attn.q_proj.weight", f.heads * f.dim}, {n + "self_attn.k_proj.weight", f.kv_heads * f.dim}, {n + "self_attn.v_proj.weight", f.kv_heads * f.dim}});
    p.matrix(n + "self_attn.o_proj.weight", o.w, f.hidden, f.heads * f.dim);
    mlp.params(p, n + "mlp.", f.hidden, f.ffn);
  }
};

class Qwen3 final : public Model {
 public:
  Qwen3(const Config& c, const ModelOptions& options) : f_(c), layout_(options.kv_dtype == DType::kF32 ? 4 : 2), layers_(size_t(f_.layers)) {
    Config rope_config = c.has("rope_parameters") ? c.child("rope_parameters") : c.child("rope_scaling");
    rope_ = make_rope(rope_config, f_.dim, c.number_or("rope_theta", 1e6));
    norm_.eps = f_.eps;
    for (Layer& l : layers_) {
      for (Norm* n : {&l.in_norm, &l.post_norm, &l.q_norm, &l.k_norm}) n->eps = f_.eps;
      l.attn = {f_.heads, f_.kv_heads, f_.dim, 0, 1.0f / std::sqrt(float(f_.dim)), {}};
      l.attn.declare(layout_);
    }
  }
  const CacheLayout& caches() const override { return layout_; }
  int64_t vocab_size() const override { return f_.vocab; }
  int64_t max_context() const override { return f_.context; }
  std::vector<std::string> prefixes() const override { return {"model."}; }

  std::vector<Param> params() override {
    ParamList p;
    p.logits_only(true);
    p.matrix("embed_tokens.weight", embed_.w, f_.vocab, f_.hidden);
    p.logits_only(false);
    for (size_t i = 0; i < layers_.size(); i++) layers_[i].params(p, "layers." + std::to_string(i) + ".", f_);
    p.logits_only(true);
    p.vector("norm.weight", norm_.w, f_.hidden);
    if (f_.tied) p.tied("/lm_head.weight", head_.w, f_.vocab, f_.hidden, embed_.w);
    else p.matrix("/lm_head.weight", head_.w, f_.vocab, f_.hidden);
    p.constant("rope", rope_.inv_freq, rope_.values);
    return p.take();
  }

  Tensor forward(Ctx& c) const override {
    Tensor x = embed_(c, c.batch.tokens);
    const Tensor table = rope_.table(c);
    for (size_t i = 0; i < layers_.size(); i++) {
      c.hidden(int(i), x);
      layers_[i](c, x, table, f_);
    }
    if (c.batch.logit_rows.numel() == 0) return {};
    x = norm_(c, gather_rows(c, x, c.batch.logit_rows));
    c.hidden(int(layers_.size()), x);
    return head_(c, x);
  }

 private:
  Shape f_;
  CacheLayout layout_;
  Embedding embed_;
  RopeKind rope_;
  std::vector<Layer> layers_;
  Norm norm_;
  Linear head_;
};

const RegisterModel reg({{"Qwen3ForCausalLM"},
                         {"qwen3"},
                         [](const Config& c, const ModelOptions& o) -> std::unique_ptr<Model> { return std::make_unique<Qwen3>(c, o); },
                         {R"({"model_type": "qwen3", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                            "intermediate_size": 64, "vocab_size": 97, "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 512})"}});

}  // namespace
}  // namespace xylem
