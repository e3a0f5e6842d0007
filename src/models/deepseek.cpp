// DeepSeek V2, V2-Lite, V3 and R1 (specs/deepseek_mla.md), and what shares their class: latent attention, and experts beside a
// shared one after some dense layers.
#include "nn/decoder.h"
#include "nn/mla.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, vocab, layers, context, ffn, first_sparse, experts, top_k, moe_ffn, shared_ffn;
  float eps;
  bool v3;

  Shape(const Config& c, bool v3)
      : hidden(c.integer("hidden_size")), vocab(c.integer("vocab_size")), layers(c.integer("num_hidden_layers", 1, 4096)),
        context(c.integer_or("max_position_embeddings", 4096, 1)), ffn(c.integer("intermediate_size")),
        first_sparse(c.integer_or("first_k_dense_replace", v3 ? 3 : 0)), experts(c.integer_or("n_routed_experts", 0, 0, 65536)),
        top_k(experts ? c.integer("num_experts_per_tok", 1, experts) : 0), moe_ffn(experts ? c.integer("moe_intermediate_size") : 0),
        shared_ffn(c.integer_or("n_shared_experts", 0) * moe_ffn), eps(float(c.number_or("rms_norm_eps", 1e-6))), v3(v3) {
    if (c.integer_or("moe_layer_freq", 1) != 1) c.fail("moe_layer_freq must be 1");
    if (c.text_or("hidden_act", "silu") != "silu") c.fail("hidden_act must be silu");
    if (c.flag_or("mlp_bias", false)) c.fail("mlp_bias is not supported");
    if (!experts) first_sparse = layers;
  }
};

// The choice of experts: V3 by sigmoid scores with a bias, V2 by softmax (specs/deepseek_mla.md 6).
Moe routing(const Config& c, const Shape& f, bool v3) {
  Moe m;
  if (!f.experts) return m;
  m.top_k = int(f.top_k);
  m.scale = float(c.number_or("routed_scaling_factor", v3 ? 2.5 : 1.0));
  m.groups = int(c.integer_or("n_group", v3 && !c.json().contains("n_group") ? 8 : 1, 1, f.experts));
  m.top_groups = int(c.integer_or("topk_group", v3 && !c.json().contains("topk_group") ? 4 : 1, 1));
  const std::string method = c.text_or("topk_method", v3 ? "noaux_tc" : "greedy"), scoring = c.text_or("scoring_func", v3 ? "sigmoid" : "softmax");
  if (method != (v3 ? "noaux_tc" : "greedy") && (v3 || method != "group_limited_greedy")) c.fail("topk_method '" + method + "' is not supported");
  if (scoring != (v3 ? "sigmoid" : "softmax")) c.fail("scoring_func '" + scoring + "' is not supported");
  if (method == "greedy") m.groups = m.top_groups = 1;
  if (f.experts % m.groups || m.top_groups > m.groups || f.top_k > f.experts / m.groups * m.top_groups)
    c.fail("n_group " + std::to_string(m.groups) + ", topk_group " + std::to_string(m.top_groups) + " and num_experts_per_tok " + std::to_string(f.top_k) + " do not fit " +
           std::to_string(f.experts) + " experts");
  m.renormalise = v3 && c.flag_or("norm_topk_prob", true);  // V2's own router ignores the key
  m.score = v3 ? Router::Score::kSigmoid : Router::Score::kSoftmax;
  m.group_score = v3 ? Router::GroupScore::kTopTwo : Router::GroupScore::kMax;
  return m;
}

struct Layer {
  Norm in_norm, post_norm;
  Mla attn;
  GatedMlp mlp;
  Linear router;
  Moe moe;
  GatedMlp shared;
  bool sparse = false;

  void operator()(Ctx& c, const Residual& r, const Norm* next, Tensor rope_table, const Shape&) const {
    const ArenaScope scope(c);
    r.add(c, attn(c, r.h, rope_table), &post_norm);
    if (!sparse) return r.add(c, mlp(c, r.h), next);
    r.add(c, moe(c, r.h, router(c, r.h)), next, {.other = shared.down.w ? shared(c, r.h) : Tensor{}});
  }
  void params(ParamList& p, const std::string& n, const Shape& f) {
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_norm.w, f.hidden);
    attn.params(p, n + "self_attn.");
    if (!sparse) return mlp.params(p, n + "mlp.", f.hidden, f.ffn);
    p.matrix(n + "mlp.gate.weight", router.w, f.experts, f.hidden);
    if (f.v3) p.floats(n + "mlp.gate.e_score_correction_bias", moe.choice_bias, {f.experts});
    moe.params(p, n + "mlp.", f.experts, f.hidden, f.moe_ffn);
    if (f.shared_ffn) shared.params(p, n + "mlp.shared_experts.", f.hidden, f.shared_ffn);
  }
};

std::unique_ptr<Model> make_deepseek(const Config& c, bool v3, const ModelOptions& options) {
  auto model = std::make_unique<Decoder<Shape, Layer>>(Shape(c, v3), options);
  const Shape& f = model->f;
  Mla attn;
  attn.read(c);
  const Moe moe = routing(c, f, v3);
  attn.interleaved = !v3 || c.flag_or("rope_interleave", true);
  if (!c.status().ok()) return model;
  const Config rope = rope_config(c);
  model->rope = make_rope(rope, attn.attn.rope_dim, 1e4, f.context);
  if (const double all = rope.number_or("mscale_all_dim", 0); all != 0) {
    const double m = yarn_scale(rope.number_or("factor", 1), all);
    attn.attn.scale *= float(m * m);
  }
  model->ends.tied = c.flag_or("tie_word_embeddings", false), model->ends.norm.eps = f.eps;
  for (size_t i = 0; i < model->layers.size(); i++) {
    Layer& l = model->layers[i];
    l.in_norm.eps = l.post_norm.eps = f.eps;
    l.attn = attn, l.moe = moe;
    l.attn.attn.declare(model->layout);
    l.router.exact = true;
    l.sparse = int64_t(i) >= f.first_sparse;
  }
  for (int64_t i = 0; i < 8; i++) model->unused_names["model.layers." + std::to_string(f.layers + i) + "."] = "multi-token prediction";  // behind the last layer
  return model;
}

template <bool kV3>
std::unique_ptr<Model> make(const Config& c, const ModelOptions& o) { return make_deepseek(c, kV3, o); }

const RegisterModel v2({{"DeepseekV2ForCausalLM"}, {"deepseek_v2"}, make<false>,
                        {R"({"model_type": "deepseek_v2", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "kv_lora_rank": 40, "qk_nope_head_dim": 20,
                           "qk_rope_head_dim": 12, "v_head_dim": 28, "intermediate_size": 64, "moe_intermediate_size": 24, "n_routed_experts": 6, "n_shared_experts": 2,
                           "num_experts_per_tok": 2, "first_k_dense_replace": 1, "topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2,
                           "routed_scaling_factor": 2.0, "vocab_size": 97, "max_position_embeddings": 512, "rope_theta": 10000,
                           "rope_scaling": {"type": "yarn", "factor": 8, "original_max_position_embeddings": 64, "mscale": 0.707, "mscale_all_dim": 0.707}})"}});
const RegisterModel v3({{"DeepseekV3ForCausalLM"}, {"deepseek_v3"}, make<true>,
                        {R"({"model_type": "deepseek_v3", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "q_lora_rank": 36, "kv_lora_rank": 32,
                           "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16, "intermediate_size": 64, "moe_intermediate_size": 24, "n_routed_experts": 8,
                           "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.5,
                           "vocab_size": 97, "max_position_embeddings": 512, "rope_theta": 10000})"}});

}  // namespace
}  // namespace xylem
