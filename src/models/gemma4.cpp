// Gemma 4 (specs/gemma4.md): E2B, E4B, 26B-A4B, 31B and whatever their config describes. Sandwich norms, sliding and full
// layers with their own head size and RoPE, per-layer embeddings, layers that share the cache of an earlier one, MoE beside
// the dense MLP.
#include "models/vision_towers.h"
#include "nn/blocks.h"

namespace xylem {
namespace {

struct LayerShape {
  bool full = false;        // full attention, else sliding
  bool owns_kv = true;      // false: reads the cache of the last owner of its kind
  bool k_eq_v = false;      // V is the raw K projection
  int heads = 0, kv_heads = 0, dim = 0;
  int64_t ffn = 0;
};

struct Shape {
  int64_t hidden, vocab, layers, context, ple, ple_vocab, window, experts = 0, top_k = 0, moe_ffn = 0;
  double eps, softcap;
  bool moe, tied;
  bool whole_images = false;                    // tokens of an image see each other in sliding layers
  std::array<int32_t, 3> media{-1, -1, -1};     // placeholders of images, videos, audio
  int32_t pad = 0;
  std::vector<LayerShape> layer;
  int first_shared = 0;

  Shape(const Config& top, const Config& t) {
    hidden = t.integer("hidden_size"), vocab = t.integer("vocab_size"), layers = t.integer("num_hidden_layers", 1, 4096);
    context = t.integer_or("max_position_embeddings", 131072, 1);
    ple = t.integer_or("hidden_size_per_layer_input", t.has("hidden_size_per_layer_input") ? 0 : 256);
    ple_vocab = t.integer_or("vocab_size_per_layer_input", vocab, 1);
    window = t.integer_or("sliding_window", 512, 1);
    eps = t.number_or("rms_norm_eps", 1e-6), softcap = t.number_or("final_logit_softcapping", 0);
    moe = t.flag_or("enable_moe_block", false);
    tied = top.has("tie_word_embeddings") ? top.flag_or("tie_word_embeddings", true) : t.flag_or("tie_word_embeddings", true);
    if (moe) experts = t.integer("num_experts", 1, 65536), top_k = t.integer("top_k_experts", 1, experts), moe_ffn = t.integer("moe_intermediate_size");
    const std::string act = t.text_or("hidden_activation", "gelu_pytorch_tanh");
    if (act != "gelu_pytorch_tanh") t.fail("hidden_activation '" + act + "' is not supported (gelu_pytorch_tanh is)");
    const std::string both_ways = t.text_or("use_bidirectional_attention", "");
    if (both_ways == "all") t.fail("use_bidirectional_attention 'all' is not supported");
    whole_images = both_ways == "vision";
    const char* placeholders[] = {"image_token_id", "video_token_id", "audio_token_id"};
    for (size_t i = 0; i < media.size(); i++) media[i] = int32_t(top.integer_or(placeholders[i], -1, -1));
    pad = int32_t(t.integer_or("pad_token_id", 0));
    if (t.flag_or("attention_bias", false)) t.fail("attention_bias is not supported");
    read_layers(t);
  }

 private:
  void read_layers(const Config& t) {
    const std::vector<std::string> kinds = t.texts("layer_types");
    if (int64_t(kinds.size()) != layers) {
      t.fail("layer_types has " + std::to_string(kinds.size()) + " entries for num_hidden_layers " + std::to_string(layers));
      return;
    }
    const int64_t shared = t.integer_or("num_kv_shared_layers", 0, 0, layers - 1);
    const int64_t ffn = t.integer("intermediate_size"), heads = t.integer("num_attention_heads", 1, 4096), kv = t.integer("num_key_value_heads", 1, heads);
    const int64_t dim = t.integer("head_dim", 1, 4096);
    const bool wide = t.flag_or("use_double_wide_mlp", false), k_eq_v = t.flag_or("attention_k_eq_v", false);
    const bool per_layer = t.has("per_layer_config");
    const Config overrides = t.child("per_layer_config");
    first_shared = int(layers - shared);
    if (whole_images && shared > 0) t.fail("use_bidirectional_attention with num_kv_shared_layers is not supported");
    for (int64_t i = 0; i < layers; i++) {
      LayerShape l;
      l.full = kinds[size_t(i)] == "full_attention";
      if (!l.full && kinds[size_t(i)] != "sliding_attention") t.fail("layer_types holds '" + kinds[size_t(i)] + "' (full_attention and sliding_attention are supported)");
      l.owns_kv = i < first_shared;
      l.k_eq_v = l.full && k_eq_v;
      const Config own = overrides.child(std::to_string(i));
      l.heads = int(heads);
      l.dim = int(own.integer_or("head_dim", l.full && !per_layer ? t.integer_or("global_head_dim", 512, 1, 4096) : dim, 1, 4096));
      const int64_t few = l.k_eq_v ? t.integer_or("num_global_key_value_heads", kv, 1, heads) : kv;
      l.kv_heads = int(own.integer_or("num_key_value_heads", few, 1, heads));
      if (heads % l.kv_heads) t.fail("num_attention_heads " + std::to_string(heads) + " is not a multiple of num_key_value_heads " + std::to_string(l.kv_heads));
      l.ffn = ffn * (wide && !l.owns_kv ? 2 : 1);
      layer.push_back(l);
    }
  }
};

struct Layer {
  LayerShape s;
  Norm in_norm, post_attn, pre_ffn, post_ffn;
  Linear qkv, o;
  PagedAttention attn;
  GatedMlp mlp;
  Tensor scalar;
  // per-layer embeddings
  Linear ple_gate, ple_proj;
  Norm ple_norm;
  // MoE
  Norm pre_moe, post_mlp, post_moe, router_norm;
  Linear router;
  Moe moe;

  Tensor attend(Ctx& c, Tensor x, Tensor rope_table) const {
    Tensor p = qkv(c, x), q = heads(p, 0, s.heads, s.dim), k, v;
    if (s.owns_kv) {
      k = heads(p, s.heads * s.dim, s.kv_heads, s.dim);
      v = s.k_eq_v ? k : heads(p, (s.heads + s.kv_heads) * s.dim, s.kv_heads, s.dim);
    }
    return o(c, attn(c, q, k, v, rope_table));
  }

  // ple: this layer's slice [T, P] or empty
  void operator()(Ctx& c, const Residual& r, const Norm* next, Tensor rope_table, Tensor ple) const {
    const ArenaScope scope(c);
    Tensor y = attend(c, r.h, rope_table);
    Joint joint{.after = &post_ffn};
    if (router.w) {
      Tensor for_moe = c.temp({y.rows(), y.cols()}), for_router = c.temp({y.rows(), y.cols()});
      r.add(c, y, &pre_ffn, {.after = &post_attn, .also = {{{&pre_moe, for_moe}, {&router_norm, for_router}}}});
      joint = {.after = &post_mlp, .other = moe(c, for_moe, router(c, for_router)), .after_other = &post_moe, .after_sum = &post_ffn};
    } else {
      r.add(c, y, &pre_ffn, {.after = &post_attn});
    }
    y = mlp(c, r.h);
    if (!ple_gate.w) {
      joint.scale = scalar;
      return r.add(c, y, next, joint);
    }
    r.add(c, y, nullptr, joint);
    r.add(c, ple_proj(c, ple_gate(c, r.x), ple, Act::kGeluTanh), next, {.after = &ple_norm, .scale = scalar});
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_attn.w, f.hidden);
    p.vector(n + "pre_feedforward_layernorm.weight", pre_ffn.w, f.hidden);
    p.vector(n + "post_feedforward_layernorm.weight", post_ffn.w, f.hidden);
    p.vector(n + "layer_scalar", scalar, 1);
    const int64_t q = s.heads * s.dim, kv = s.owns_kv ? s.kv_heads * s.dim : 0;
    p.fused(n + "self_attn.qkv_proj.weight", qkv.w, f.hidden,
            {{n + "self_attn.q_proj.weight", q}, {n + "self_attn.k_proj.weight", kv}, {n + "self_attn.v_proj.weight", s.k_eq_v ? 0 : kv}});
    p.vector(n + "self_attn.q_norm.weight", attn.q_norm.w, s.dim);
    if (s.owns_kv) p.vector(n + "self_attn.k_norm.weight", attn.k_norm.w, s.dim);
    p.matrix(n + "self_attn.o_proj.weight", o.w, f.hidden, q);
    mlp.params(p, n + "mlp.", f.hidden, s.ffn);
    if (f.ple) {
      p.matrix(n + "per_layer_input_gate.weight", ple_gate.w, f.ple, f.hidden);
      p.matrix(n + "per_layer_projection.weight", ple_proj.w, f.hidden, f.ple);
      p.vector(n + "post_per_layer_input_norm.weight", ple_norm.w, f.hidden);
    }
    if (!f.moe) return;
    p.vector(n + "pre_feedforward_layernorm_2.weight", pre_moe.w, f.hidden);
    p.vector(n + "post_feedforward_layernorm_1.weight", post_mlp.w, f.hidden);
    p.vector(n + "post_feedforward_layernorm_2.weight", post_moe.w, f.hidden);
    p.vector(n + "router.scale", router_norm.w, f.hidden, 1.0f / std::sqrt(float(f.hidden)));
    p.matrix(n + "router.proj.weight", router.w, f.experts, f.hidden);
    p.vector(n + "router.per_expert_scale", moe.expert_scale, f.experts);
    p.experts(n + "experts.gate_up_proj", moe.gate_up, f.experts, 2 * f.moe_ffn, f.hidden,
              {{n + "experts.{e}.gate_proj.weight", f.moe_ffn}, {n + "experts.{e}.up_proj.weight", f.moe_ffn}});
    p.experts(n + "experts.down_proj", moe.down, f.experts, f.hidden, f.moe_ffn, {{n + "experts.{e}.down_proj.weight", f.hidden}});
  }
};

class Gemma4 final : public Model {
 public:
  Gemma4(const Config& top, const Config& t, const ModelOptions& options) : f_(top, t), layout_(options.kv_dtype == DType::kF32 ? 4 : 2), layers_(f_.layer.size()) {
    const Config rope = t.child("rope_parameters");
    if (f_.layer.empty()) return;
    for (size_t i = 0; i < layers_.size(); i++) {
      Layer& l = layers_[i];
      l.s = f_.layer[i];
      for (Norm* n : {&l.in_norm, &l.post_attn, &l.pre_ffn, &l.post_ffn, &l.ple_norm, &l.pre_moe, &l.post_mlp, &l.post_moe, &l.router_norm})
        n->eps = float(f_.eps);
      l.mlp.act = l.moe.act = Act::kGeluTanh;
      l.moe.top_k = int(f_.top_k);
      l.attn = {l.s.heads, l.s.kv_heads, l.s.dim, l.s.full ? 0 : int(f_.window), 1.0f, {}};
      l.attn.q_norm.on = l.attn.k_norm.on = l.attn.v_norm.on = true, l.attn.eps = float(f_.eps);
      if (l.s.owns_kv) l.attn.declare(layout_);
      else l.attn.cache = last_owner(t, i);
      RopeKind& kind = l.s.full ? full_rope_ : sliding_rope_;
      if (kind.values.empty()) kind = make_rope(rope.child(l.s.full ? "full_attention" : "sliding_attention"), l.s.dim, l.s.full ? 1e6 : 1e4);
    }
    if (options.vision && top.has("vision_config")) tower_ = make_gemma4_tower(top.child("vision_config"), f_.hidden);
    for (Layer& l : layers_) l.attn.whole_images = whole_images() && !l.s.full;
    ple_embed_.aliases = f_.media, ple_embed_.alias_of = f_.pad;
    embed_.scale = float(std::sqrt(double(f_.hidden)));
    ple_embed_.scale = float(std::sqrt(double(f_.ple)));
    norm_.eps = float(f_.eps);
    ple_norm_.eps = float(f_.eps * double(f_.hidden));  // the projection's factor H^-1/2 moves into eps (specs/gemma4.md 4)
  }

  const CacheLayout& caches() const override { return layout_; }
  int64_t vocab_size() const override { return f_.vocab; }
  int64_t max_context() const override { return f_.context; }
  std::vector<std::string> prefixes() const override { return {"model.language_model.", "model.", "language_model.model."}; }
  std::map<std::string, std::string> unused() const override {
    std::map<std::string, std::string> names{{"model.audio_tower.", "audio"}, {"model.embed_audio.", "audio"}};
    if (!tower_)
      for (const char* n : {"model.vision_tower.", "model.embed_vision.", "model.vision_embedder."}) names.emplace(n, "vision");
    return names;
  }
  const VisionTower* vision() const override { return tower_.get(); }
  bool whole_images() const override { return tower_ && f_.whole_images; }

  std::vector<Param> params() override {
    ParamList p;
    p.logits_only(true);
    p.matrix("embed_tokens.weight", embed_.w, f_.vocab, f_.hidden);
    p.logits_only(false);
    if (f_.ple) {
      const int64_t all = f_.layers * f_.ple;
      p.table("embed_tokens_per_layer.weight", ple_embed_.w, f_.ple_vocab, all);
      p.matrix("per_layer_model_projection.weight", ple_project_.w, all, f_.hidden);
      p.vector("per_layer_projection_norm.weight", ple_norm_.w, f_.ple);
    }
    for (size_t i = 0; i < layers_.size(); i++) {
      p.logits_only(int(i) >= f_.first_shared);
      layers_[i].params(p, "layers." + std::to_string(i) + ".", f_);
    }
    p.logits_only(true);
    p.vector("norm.weight", norm_.w, f_.hidden);
    if (f_.tied) p.tied("/lm_head.weight", head_.w, f_.vocab, f_.hidden, embed_.w);
    else p.matrix("/lm_head.weight", head_.w, f_.vocab, f_.hidden);
    full_rope_.params(p, "full_rope");
    sliding_rope_.params(p, "sliding_rope");
    p.logits_only(false);
    if (tower_) tower_->params(p);
    return p.take();
  }

  Tensor forward(Ctx& all) const override {
    Tensor x = embed_(all, all.batch.tokens);
    splice_images(all, x);
    Tensor ple = per_layer_inputs(all, x);
    all.hidden(0, x);
    // Layers that own no cache leave nothing behind for later tokens: only rows whose logits are wanted go on.
    const bool all_wanted = all.batch.logits_only == &all.batch;
    run_layers(all, x, ple, 0, all_wanted ? int(layers_.size()) : f_.first_shared);
    if (all.batch.logit_rows.numel() == 0) return {};
    Ctx c = all.logits_only();
    if (!all_wanted) {
      x = gather_rows(all, x, all.batch.logit_rows);
      if (ple) ple = gather_rows(all, ple, all.batch.logit_rows);
      run_layers(c, x, ple, f_.first_shared, int(layers_.size()));
    }
    x = norm_(c, x);
    c.hidden(int(layers_.size()), x);
    Tensor logits = head_(c, x);
    if (f_.softcap > 0) c.run(Softcap{logits, logits, float(f_.softcap)});
    return logits;
  }

 private:
  CacheRef last_owner(const Config& t, size_t layer) const {
    for (int i = f_.first_shared; i-- > 0;)
      if (f_.layer[size_t(i)].full == f_.layer[layer].full) {
        const LayerShape &a = f_.layer[size_t(i)], &b = f_.layer[layer];
        if (a.dim != b.dim || a.kv_heads != b.kv_heads) t.fail("layer " + std::to_string(layer) + " shares the cache of layer " + std::to_string(i) + " but differs in head_dim or heads");
        return layers_[size_t(i)].attn.cache;
      }
    t.fail("layer " + std::to_string(layer) + " shares a cache, but no earlier layer of its kind owns one");
    return {0, 0};
  }

  Tensor per_layer_inputs(Ctx& c, Tensor x) const {  // [T, layers * P]
    if (!f_.ple) return {};
    Tensor tokens = ple_embed_(c, c.batch.tokens);
    const ArenaScope scope(c);
    Tensor context = ple_project_(c, x);
    Tensor rows = make_tensor(context.data, DType::kF32, {x.rows() * f_.layers, f_.ple});
    Tensor sum = make_tensor(tokens.data, DType::kF32, {x.rows() * f_.layers, f_.ple});
    c.run(Add{ple_norm_(c, rows), sum, sum, float(1 / std::sqrt(2.0))});
    return tokens;
  }

  void run_layers(Ctx& c, Tensor x, Tensor ple, int from, int to) const {
    if (from == to) return;
    const Tensor full = full_rope_.values.empty() ? Tensor{} : full_rope_.table(c);
    const Tensor sliding = sliding_rope_.values.empty() ? Tensor{} : sliding_rope_.table(c);
    const Residual r{x, layers_[size_t(from)].in_norm(c, x)};
    for (int i = from; i < to; i++) {
      const Layer& l = layers_[size_t(i)];
      l(c, r, i + 1 < to ? &layers_[size_t(i + 1)].in_norm : nullptr, l.s.full ? full : sliding, ple ? columns(ple, i * f_.ple, f_.ple) : Tensor{});
      if (i + 1 < int(layers_.size())) c.hidden(i + 1, x);
    }
  }

  Shape f_;
  CacheLayout layout_;
  Embedding embed_, ple_embed_;
  Linear ple_project_, head_;
  Norm norm_, ple_norm_;
  RopeKind full_rope_, sliding_rope_;
  std::vector<Layer> layers_;
  std::unique_ptr<VisionTower> tower_;
};

std::unique_ptr<Model> make(const Config& c, const ModelOptions& options) {
  return std::make_unique<Gemma4>(c, c.has("text_config") ? c.child("text_config") : c, options);
}

constexpr const char* kTinyE = R"({"model_type": "gemma4_text", "hidden_size": 48, "vocab_size": 97, "num_hidden_layers": 6, "intermediate_size": 64,
  "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 32, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 3,
  "use_double_wide_mlp": true, "sliding_window": 20, "final_logit_softcapping": 30.0, "max_position_embeddings": 512, "vocab_size_per_layer_input": 97,
  "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"],
  "rope_parameters": {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}})";
constexpr const char* kTinyMoe = R"({"model_type": "gemma4_text", "hidden_size": 40, "vocab_size": 101, "num_hidden_layers": 3, "intermediate_size": 48,
  "num_attention_heads": 4, "num_key_value_heads": 2, "num_global_key_value_heads": 1, "head_dim": 16, "global_head_dim": 32, "hidden_size_per_layer_input": 0,
  "enable_moe_block": true, "num_experts": 6, "top_k_experts": 2, "moe_intermediate_size": 24, "attention_k_eq_v": true, "sliding_window": 16,
  "final_logit_softcapping": 30.0, "max_position_embeddings": 512, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
  "rope_parameters": {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}})";

const RegisterModel reg({{"Gemma4ForConditionalGeneration", "Gemma4ForCausalLM"}, {"gemma4", "gemma4_text"}, make, {kTinyE, kTinyMoe}});

}  // namespace
}  // namespace xylem
