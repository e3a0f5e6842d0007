// Gemma 3 text: sandwich norms with weights around zero, five sliding layers for each full one, a RoPE base for each kind.
#include "nn/blocks.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, ffn, vocab, layers, context;
  int heads, kv_heads, dim, window;
  float eps;
  double query_scalar, softcap;
  std::vector<bool> full;

  explicit Shape(const Config& c)
      : hidden(c.integer("hidden_size")), ffn(c.integer("intermediate_size")), vocab(c.integer_or("vocab_size", 262208, 1)), layers(c.integer("num_hidden_layers", 1, 4096)),
        context(c.integer_or("max_position_embeddings", 131072, 1)), heads(int(c.integer_or("num_attention_heads", 8, 1, 4096))),
        kv_heads(int(c.integer_or("num_key_value_heads", 4, 1, heads))), dim(int(c.integer_or("head_dim", 256, 1, 1024))), window(int(c.integer_or("sliding_window", 4096, 1))),
        eps(float(c.number_or("rms_norm_eps", 1e-6))), query_scalar(c.number_or("query_pre_attn_scalar", 256)), softcap(c.number_or("final_logit_softcapping", 0)) {
    c.require_multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads);
    if (query_scalar <= 0) c.fail("query_pre_attn_scalar must be positive");
    if (c.has("attn_logit_softcapping")) c.fail("attn_logit_softcapping is not supported");
    if (c.flag_or("attention_bias", false)) c.fail("attention_bias is not supported");
    if (c.flag_or("use_bidirectional_attention", false)) c.fail("use_bidirectional_attention is not supported");
    if (const std::string act = c.text_or("hidden_activation", "gelu_pytorch_tanh"); act != "gelu_pytorch_tanh") c.fail("hidden_activation '" + act + "' is not supported (gelu_pytorch_tanh is)");
    if (c.has("layer_types")) {
      full = c.layer_kinds("layer_types", layers, "full_attention", "sliding_attention");
    } else {
      const int64_t pattern = c.integer_or("sliding_window_pattern", c.integer_or("_sliding_window_pattern", 6, 1), 1);
      for (int64_t i = 0; i < layers; i++) full.push_back((i + 1) % pattern == 0);
    }
  }
};

struct Layer {
  Norm in_norm, post_attn, pre_ffn, post_ffn;
  Linear qkv, o;
  PagedAttention attn;
  GatedMlp mlp;

  void operator()(Ctx& c, const Residual& r, const Norm* next, Tensor rope_table) const {
    const ArenaScope scope(c);
    r.add(c, o(c, attn(c, qkv(c, r.h), rope_table)), &pre_ffn, {.after = &post_attn});
    r.add(c, mlp(c, r.h), next, {.after = &post_ffn});
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    const int64_t q = f.heads * f.dim, kv = f.kv_heads * f.dim;
    const std::string a = n + "self_attn.";
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_attn.w, f.hidden);
    p.vector(n + "pre_feedforward_layernorm.weight", pre_ffn.w, f.hidden);
    p.vector(n + "post_feedforward_layernorm.weight", post_ffn.w, f.hidden);
    p.vector(a + "q_norm.weight", attn.q_norm.w, f.dim);
    p.vector(a + "k_norm.weight", attn.k_norm.w, f.dim);
    p.fused(a + "qkv_proj.weight", qkv.w, f.hidden, {{a + "q_proj.weight", q}, {a + "k_proj.weight", kv}, {a + "v_proj.weight", kv}});
    p.matrix(a + "o_proj.weight", o.w, f.hidden, q);
    mlp.params(p, n + "mlp.", f.hidden, f.ffn);
  }
};

class Gemma3 final : public Model {
 public:
  Gemma3(const Config& top, const Config& c, const ModelOptions& options) : f_(c), layout_(options.kv_dtype == DType::kF32 ? 4 : 2), layers_(size_t(f_.layers)) {
    if (!c.status().ok()) return;
    // New files nest the parameters by kind of layer; in old ones rope_scaling is of the full layers alone.
    const Config nested = c.child("rope_parameters");
    const bool by_kind = nested.has("full_attention") || nested.has("sliding_attention");
    full_rope_ = make_rope(by_kind ? nested.child("full_attention") : rope_config(c), f_.dim, 1e6, f_.context);
    Config local = by_kind ? nested.child("sliding_attention") : Config(nlohmann::json::object());
    const double local_base = c.number_or("rope_local_base_freq", 1e4);
    if (!by_kind && local_base <= 1) c.fail("rope_local_base_freq must be larger than 1");
    sliding_rope_ = make_rope(local, f_.dim, local_base, f_.context);
    ends_.vocab = f_.vocab, ends_.hidden = f_.hidden;
    ends_.tied = top.has("tie_word_embeddings") ? top.flag_or("tie_word_embeddings", true) : c.flag_or("tie_word_embeddings", true);
    ends_.embed.scale = float(std::sqrt(double(f_.hidden))), ends_.norm.eps = f_.eps, ends_.norm.w_offset = 1;
    for (size_t i = 0; i < layers_.size(); i++) {
      Layer& l = layers_[i];
      for (Norm* n : {&l.in_norm, &l.post_attn, &l.pre_ffn, &l.post_ffn}) n->eps = f_.eps, n->w_offset = 1;
      l.mlp.act = Act::kGeluTanh;
      l.attn = {f_.heads, f_.kv_heads, f_.dim, f_.full[i] ? 0 : f_.window, float(1.0 / std::sqrt(f_.query_scalar)), {}, {}};
      l.attn.q_norm.on = l.attn.k_norm.on = true, l.attn.eps = f_.eps, l.attn.w_offset = 1;
      l.attn.declare(layout_);
    }
  }
  const CacheLayout& caches() const override { return layout_; }
  int64_t vocab_size() const override { return f_.vocab; }
  int64_t max_context() const override { return f_.context; }
  std::vector<std::string> prefixes() const override { return {"model.", "language_model.model.", "model.language_model."}; }
  std::map<std::string, std::string> unused() const override {
    return {{"vision_tower.", "vision"}, {"model.vision_tower.", "vision"}, {"multi_modal_projector.", "vision"}, {"model.multi_modal_projector.", "vision"}};
  }

  std::vector<Param> params() override {
    ParamList p;
    ends_.front_params(p);
    for (size_t i = 0; i < layers_.size(); i++) layers_[i].params(p, "layers." + std::to_string(i) + ".", f_);
    ends_.back_params(p);
    full_rope_.params(p, "full_rope");
    sliding_rope_.params(p, "sliding_rope");
    return p.take();
  }

  Tensor forward(Ctx& c) const override {
    Tensor x = ends_.embed(c, c.batch.tokens);
    const Tensor full = full_rope_.table(c), sliding = sliding_rope_.table(c);
    const Residual r{x, layers_[0].in_norm(c, x)};
    for (size_t i = 0; i < layers_.size(); i++) {
      c.hidden(int(i), x);
      layers_[i](c, r, i + 1 < layers_.size() ? &layers_[i + 1].in_norm : nullptr, f_.full[i] ? full : sliding);
    }
    Tensor logits = ends_.logits(c, x, layers_.size());
    if (f_.softcap > 0 && logits.rank) c.run(Softcap{logits, logits, float(f_.softcap)});
    return logits;
  }

 private:
  Shape f_;
  CacheLayout layout_;
  DecoderEnds ends_;
  RopeKind full_rope_, sliding_rope_;
  std::vector<Layer> layers_;
};

const RegisterModel reg({{"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
                         {"gemma3_text", "gemma3"},
                         [](const Config& c, const ModelOptions& o) -> std::unique_ptr<Model> {
                           return std::make_unique<Gemma3>(c, c.has("text_config") ? c.child("text_config") : c, o);
                         },
                         {R"({"model_type": "gemma3_text", "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                            "intermediate_size": 64, "vocab_size": 97, "sliding_window": 40, "sliding_window_pattern": 3, "query_pre_attn_scalar": 20, "rope_theta": 100000,
                            "rope_scaling": {"rope_type": "linear", "factor": 8}, "max_position_embeddings": 512})"}});

}  // namespace
}  // namespace xylem
