// Qwen3.5 (specs/qwen3_5.md), dense and MoE: three Gated DeltaNet layers for each layer of gated attention.
#include "models/vision_towers.h"
#include "nn/decoder.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, vocab, layers, context;
  int heads, kv_heads, dim;
  int64_t key_heads, value_heads, key_dim, value_dim, taps;
  float eps;
  int64_t ffn = 0, experts = 0, top_k = 0, moe_ffn = 0, shared_ffn = 0;
  std::vector<bool> full;  // attention, of each layer; else Gated DeltaNet

  Shape(const Config& c, bool moe)
      : hidden(c.integer("hidden_size")), vocab(c.integer("vocab_size")), layers(c.integer("num_hidden_layers", 1, 4096)),
        context(c.integer_or("max_position_embeddings", 262144, 1)), heads(int(c.integer("num_attention_heads", 1, 4096))),
        kv_heads(int(c.integer_or("num_key_value_heads", heads, 1, heads))), dim(int(c.integer_or("head_dim", 256, 1, 1024))),
        key_heads(c.integer_or("linear_num_key_heads", 16, 1, 4096)), value_heads(c.integer("linear_num_value_heads", 1, 4096)),
        key_dim(c.integer_or("linear_key_head_dim", 128, 1, 1024)), value_dim(c.integer_or("linear_value_head_dim", 128, 1, 1024)),
        taps(c.integer_or("linear_conv_kernel_dim", 4, 1, 64)), eps(float(c.number_or("rms_norm_eps", 1e-6))) {
    c.require_multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads);
    c.require_multiple("linear_num_value_heads", value_heads, "linear_num_key_heads", key_heads);
    if (c.flag_or("attention_bias", false)) c.fail("attention_bias is not supported");
    if (!c.flag_or("attn_output_gate", true)) c.fail("attn_output_gate false is not supported");
    for (const char* key : {"hidden_act", "output_gate_type"})
      if (const std::string act = c.text_or(key, "silu"); act != "silu" && act != "swish") c.fail(std::string(key) + " '" + act + "' is not supported (silu is)");
    if (moe) {
      experts = c.integer("num_experts", 1, 65536), top_k = c.integer("num_experts_per_tok", 1, experts);
      moe_ffn = c.integer("moe_intermediate_size"), shared_ffn = c.integer("shared_expert_intermediate_size");
    } else {
      ffn = c.integer("intermediate_size");
    }
    read_layers(c);
  }
  int64_t channels() const { return 2 * key_heads * key_dim + value_heads * value_dim; }

 private:
  void read_layers(const Config& c) {
    if (c.has("layer_types")) {
      full = c.layer_kinds("layer_types", layers, "full_attention", "linear_attention");
    } else {
      const int64_t interval = c.integer_or("full_attention_interval", 4, 1);
      for (int64_t i = 0; i < layers; i++) full.push_back((i + 1) % interval == 0);
    }
  }
};

struct Layer {
  bool full = false;
  Norm in_norm, post_norm;
  // gated attention
  Linear qkv, o;
  PagedAttention attn;
  // Gated DeltaNet
  Linear in, out;
  Norm out_norm;
  DeltaRule delta;
  // feed-forward
  GatedMlp mlp;
  Linear router, shared_gate;
  Moe moe;
  GatedMlp shared;

  Tensor attend(Ctx& c, Tensor x, Tensor rope_table, const Shape& f) const {
    Tensor p = qkv(c, x);
    Tensor q_and_gate = heads(p, 0, f.heads, 2 * f.dim), gate = head_part(q_and_gate, f.dim, f.dim);
    Tensor k = heads(p, 2 * f.heads * f.dim, f.kv_heads, f.dim), v = heads(p, (2 * f.heads + f.kv_heads) * f.dim, f.kv_heads, f.dim);
    Tensor y = attn(c, head_part(q_and_gate, 0, f.dim), k, v, rope_table);
    return o(c, flat_heads(act_mul(c, gate, as_heads(y, f.heads), Act::kSigmoid)));
  }

  Tensor remember(Ctx& c, Tensor x, const Shape& f) const {
    Tensor p = in(c, x);
    const int64_t z_at = f.channels(), b_at = z_at + f.value_heads * f.value_dim, a_at = b_at + f.value_heads;
    Tensor y = out_norm(c, delta(c, columns(p, 0, f.channels()), columns(p, a_at, f.value_heads), columns(p, b_at, f.value_heads)));
    return out(c, flat_heads(act_mul(c, heads(p, z_at, f.value_heads, f.value_dim), y, Act::kSilu)));
  }

  Tensor feed_forward(Ctx& c, Tensor x) const {
    if (!router.w) return mlp(c, x);
    Tensor y = moe(c, x, router(c, x));
    c.run(GatedAdd{y, shared(c, x), shared_gate(c, x), y});
    return y;
  }

  void operator()(Ctx& c, const Residual& r, const Norm* next, Tensor rope_table, const Shape& f) const {
    const ArenaScope scope(c);
    r.add(c, full ? attend(c, r.h, rope_table, f) : remember(c, r.h, f), &post_norm);
    r.add(c, feed_forward(c, r.h), next);
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_norm.w, f.hidden);
    full ? attention_params(p, n + "self_attn.", f) : delta_params(p, n + "linear_attn.", f);
    if (!f.experts) return mlp.params(p, n + "mlp.", f.hidden, f.ffn);
    p.matrix(n + "mlp.gate.weight", router.w, f.experts, f.hidden);
    moe.params(p, n + "mlp.", f.experts, f.hidden, f.moe_ffn);
    p.matrix(n + "mlp.shared_expert_gate.weight", shared_gate.w, 1, f.hidden);
    shared.params(p, n + "mlp.shared_expert.", f.hidden, f.shared_ffn);
  }

 private:
  void attention_params(ParamList& p, const std::string& n, const Shape& f) {
    p.fused(n + "qkv_proj.weight", qkv.w, f.hidden,
            {{n + "q_proj.weight", 2 * f.heads * f.dim}, {n + "k_proj.weight", f.kv_heads * f.dim}, {n + "v_proj.weight", f.kv_heads * f.dim}});
    p.vector(n + "q_norm.weight", attn.q_norm.w, f.dim);
    p.vector(n + "k_norm.weight", attn.k_norm.w, f.dim);
    p.matrix(n + "o_proj.weight", o.w, f.hidden, f.heads * f.dim);
  }
  void delta_params(ParamList& p, const std::string& n, const Shape& f) {
    p.fused(n + "in_proj.weight", in.w, f.hidden,
            {{n + "in_proj_qkv.weight", f.channels()}, {n + "in_proj_z.weight", f.value_heads * f.value_dim}, {n + "in_proj_b.weight", f.value_heads},
             {n + "in_proj_a.weight", f.value_heads}});
    p.floats(n + "conv1d.weight", delta.conv, {f.channels(), f.taps}).dummy_spread = 0.5f;
    p.floats(n + "A_log", delta.a_log, {f.value_heads});
    p.floats(n + "dt_bias", delta.dt_bias, {f.value_heads});
    p.vector(n + "norm.weight", out_norm.w, f.value_dim);
    p.matrix(n + "out_proj.weight", out.w, f.hidden, f.value_heads * f.value_dim);
  }
};

// Which axis of an image's positions turns each of n frequencies (specs/qwen3_5.md 6.3).
std::vector<int32_t> mrope_axes(const Config& rope, size_t n) {
  const std::vector<int64_t> sections = rope.integers_or_none("mrope_section");
  int64_t sum = 0;
  for (const int64_t s : sections) sum += s;
  if (sections.size() != 3 || sum != int64_t(n)) {
    rope.fail("mrope_section must be three numbers whose sum is " + std::to_string(n) + ", the pairs of dimensions that rotate");
    return {};
  }
  if (!rope.flag_or("mrope_interleaved", true)) rope.fail("mrope_interleaved false is not supported");
  std::vector<int32_t> axes(n, 0);
  for (size_t j = 0; j < n; j++)
    if (const auto axis = int32_t(j % 3); axis > 0 && int64_t(j) < 3 * sections[size_t(axis)]) axes[j] = axis;
  return axes;
}

// top decides about tied embeddings; c holds the text model
std::unique_ptr<Model> make_text(const Config& top, const Config& c, bool moe, const ModelOptions& options) {
  auto model = std::make_unique<Decoder<Shape, Layer>>(Shape(c, moe), options);
  const Shape& f = model->f;
  if (!c.status().ok()) return model;
  const Config quarter(nlohmann::json{{"partial_rotary_factor", 0.25}});  // where no config says how much of a head rotates
  model->rope = make_rope(rope_config(c).with_defaults(c, {"partial_rotary_factor"}).with_defaults(quarter, {"partial_rotary_factor"}), f.dim, 1e7, f.context);
  if (options.vision && top.has("vision_config")) {
    model->tower = make_qwen3_5_tower(top.child("vision_config"));
    if (model->tower->width() != f.hidden) top.fail("vision_config: out_hidden_size differs from the language model's hidden_size");
    model->rope.axes = mrope_axes(rope_config(c), model->rope.values.size());  // with text alone, all axes have equal positions
  }
  model->ends.tied = top.has("tie_word_embeddings") ? top.flag_or("tie_word_embeddings", false) : c.flag_or("tie_word_embeddings", false);
  model->ends.norm.eps = f.eps, model->ends.norm.w_offset = 1;
  for (size_t i = 0; i < model->layers.size(); i++) {
    Layer& l = model->layers[i];
    l.full = f.full[i];
    for (Norm* n : {&l.in_norm, &l.post_norm}) n->eps = f.eps, n->w_offset = 1;
    l.out_norm.eps = f.eps;
    l.moe.top_k = int(f.top_k);
    if (l.full) {
      l.attn = {f.heads, f.kv_heads, f.dim, 0, 1.0f / std::sqrt(float(f.dim)), {}, {}};
      l.attn.q_norm.on = l.attn.k_norm.on = true, l.attn.eps = f.eps, l.attn.w_offset = 1;
      l.attn.declare(model->layout);
    } else {
      l.delta.key_heads = f.key_heads, l.delta.heads = f.value_heads, l.delta.key_dim = f.key_dim, l.delta.dim = f.value_dim, l.delta.taps = f.taps;
      l.delta.declare(model->layout);
    }
  }
  model->name_prefixes = {"model.language_model.", "model.", "language_model.model."};
  model->unused_names = {{"mtp.", "multi-token prediction"}};
  if (!model->tower)
    for (const char* n : {"model.visual.", "visual."}) model->unused_names.emplace(n, "vision");
  return model;
}

template <bool kMoe>
std::unique_ptr<Model> make(const Config& c, const ModelOptions& o) {
  return make_text(c, c.has("text_config") ? c.child("text_config") : c, kMoe, o);
}

const RegisterModel dense({{"Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"}, {"qwen3_5", "qwen3_5_text"}, make<false>,
                           {R"({"model_type": "qwen3_5_text", "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                              "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 24, "intermediate_size": 64,
                              "vocab_size": 97, "full_attention_interval": 2, "max_position_embeddings": 512, "tie_word_embeddings": true,
                              "rope_parameters": {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}})"}});
const RegisterModel moe({{"Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"}, {"qwen3_5_moe", "qwen3_5_moe_text"}, make<true>,
                         {R"({"model_type": "qwen3_5_moe_text", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 32,
                            "linear_num_key_heads": 1, "linear_num_value_heads": 3, "linear_key_head_dim": 32, "linear_value_head_dim": 16, "num_experts": 6,
                            "num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40, "vocab_size": 97,
                            "layer_types": ["linear_attention", "full_attention", "linear_attention"], "max_position_embeddings": 512,
                            "rope_parameters": {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.25, "mrope_section": [2, 1, 1]}})"}});

}  // namespace
}  // namespace xylem
