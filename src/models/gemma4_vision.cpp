// The vision tower of Gemma 4 (specs/gemma4.md 8): sandwich norms as in the language model, two-dimensional RoPE, pooled patches.
#include "models/vision_towers.h"
#include "nn/vision_blocks.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, ffn, layers, patch, pool, positions, width;
  int heads, dim;
  float eps;
  bool clipped, standardize;

  Shape(const Config& v, int64_t width_)
      : hidden(v.integer("hidden_size", 1, 65536)), ffn(v.integer("intermediate_size", 1, 1 << 20)), layers(v.integer("num_hidden_layers", 1, 4096)),
        patch(v.integer_or("patch_size", 16, 1, 256)), pool(v.integer_or("pooling_kernel_size", 3, 1, 64)),
        positions(v.integer_or("position_embedding_size", 10240, 1, 1 << 20)), width(width_), heads(int(v.integer("num_attention_heads", 1, 1024))),
        dim(int(v.integer_or("head_dim", hidden / heads, 4, 512))), eps(float(v.number_or("rms_norm_eps", 1e-6))),
        clipped(v.flag_or("use_clipped_linears", false)), standardize(v.flag_or("standardize", false)) {
    if (dim % 4) v.fail("head_dim " + std::to_string(dim) + " of the vision model is not a multiple of 4");
    if (const int64_t kv = v.integer_or("num_key_value_heads", heads, 1, 1024); kv != heads) v.fail("num_key_value_heads of the vision model differs from its num_attention_heads");
    if (v.flag_or("attention_bias", false)) v.fail("attention_bias of the vision model is not supported");
    if (const std::string act = v.text_or("hidden_activation", "gelu_pytorch_tanh"); act != "gelu_pytorch_tanh")
      v.fail("hidden_activation '" + act + "' of the vision model is not supported (gelu_pytorch_tanh is)");
  }
  int64_t patch_numbers() const { return patch * patch * 3; }
};

struct Layer {
  Norm in_norm, post_attn, pre_ffn, post_ffn;
  Norm q_norm, k_norm, v_norm;
  ClippedLinear q, k, v, o, gate, up, down;

  // Columns of the patches turn the first half of each head, rows the second.
  Tensor attend(Ctx& c, Tensor h, const Encoding& e, const Shape& f) const {
    const auto turned = [&](Tensor x) {
      rope(c, head_part(x, 0, f.dim / 2), e.by_column);
      rope(c, head_part(x, f.dim / 2, f.dim / 2), e.by_row);
      return x;
    };
    const auto normed = [&](const ClippedLinear& l, const Norm& n) {
      Tensor x = as_heads(l(c, h), f.heads);
      c.run(RmsNorm{x, n.w, x, n.eps, n.w_offset});
      return x;
    };
    const Tensor qs = turned(normed(q, q_norm)), ks = turned(normed(k, k_norm)), vs = normed(v, v_norm);
    return o(c, attend_within_images(c, qs, ks, vs, e.images.cu, 1.0f));
  }

  void operator()(Ctx& c, const Residual& r, const Norm* next, const Encoding& e, const Shape& f) const {
    {
      const ArenaScope scope(c);
      r.add(c, attend(c, r.h, e, f), &pre_ffn, {.after = &post_attn});
    }
    in_pieces(c, r.x.rows(), [&](int64_t from, int64_t n) {
      const Residual part{some_rows(r.x, from, n), some_rows(r.h, from, n)};
      Tensor y = act_mul(c, gate(c, part.h), up(c, part.h), Act::kGeluTanh);
      part.add(c, down(c, y), next, {.after = &post_ffn});
    });
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    p.vector(n + "input_layernorm.weight", in_norm.w, f.hidden);
    p.vector(n + "post_attention_layernorm.weight", post_attn.w, f.hidden);
    p.vector(n + "pre_feedforward_layernorm.weight", pre_ffn.w, f.hidden);
    p.vector(n + "post_feedforward_layernorm.weight", post_ffn.w, f.hidden);
    const int64_t all = int64_t(f.heads) * f.dim;
    q.params(p, n + "self_attn.q_proj", all, f.hidden, f.clipped);
    k.params(p, n + "self_attn.k_proj", all, f.hidden, f.clipped);
    v.params(p, n + "self_attn.v_proj", all, f.hidden, f.clipped);
    o.params(p, n + "self_attn.o_proj", f.hidden, all, f.clipped);
    p.vector(n + "self_attn.q_norm.weight", q_norm.w, f.dim);
    p.vector(n + "self_attn.k_norm.weight", k_norm.w, f.dim);
    gate.params(p, n + "mlp.gate_proj", f.ffn, f.hidden, f.clipped);
    up.params(p, n + "mlp.up_proj", f.ffn, f.hidden, f.clipped);
    down.params(p, n + "mlp.down_proj", f.hidden, f.ffn, f.clipped);
  }
};

class Tower final : public VisionTower {
 public:
  Tower(const Config& v, int64_t width) : f_(v, width), layers_(size_t(f_.layers)) {
    rope_.values = axial_frequencies(v, f_.dim / 2, 100);
    for (Layer& l : layers_)
      for (Norm* n : {&l.in_norm, &l.post_attn, &l.pre_ffn, &l.post_ffn, &l.q_norm, &l.k_norm, &l.v_norm}) n->eps = f_.eps;
    project_norm_.eps = f_.eps;
  }

  int patch_numbers() const override { return int(f_.patch_numbers()); }
  int cell() const override { return int(f_.pool); }
  int width() const override { return int(f_.width); }
  int taps() const override { return 2; }

  std::string refusal(const ImagePatches& image) const override {
    if (std::max(image.grid_h, image.grid_w) <= f_.positions) return {};
    return "The image has " + std::to_string(image.grid_w) + " x " + std::to_string(image.grid_h) + " patches; the model knows " + std::to_string(f_.positions) + " positions along a side.";
  }
  void fill_patches(const ImagePatches& image, float* out) const override {
    for (size_t i = 0; i < image.pixels.size(); i++) out[i] = 2 * (image.pixels[i] - 0.5f);
  }
  void fill_taps(const ImagePatches& image, int32_t* ids, float* weights) const override {
    for (int i = 0; i < image.patches(); i++) {
      const ImagePatches::At at = image.at(i);
      ids[2 * i] = at.col, ids[2 * i + 1] = int32_t(f_.positions) + at.row;
      weights[2 * i] = weights[2 * i + 1] = 1;
    }
  }

  void params(ParamList& p) override {
    const std::string n = "/vision_tower.";
    p.logits_only(true);
    p.matrix(n + "patch_embedder.input_proj.weight", in_.w, f_.hidden, f_.patch_numbers());
    p.table(n + "patch_embedder.position_embedding_table", positions_, {2, f_.positions, f_.hidden});
    for (size_t i = 0; i < layers_.size(); i++) layers_[i].params(p, n + "encoder.layers." + std::to_string(i) + ".", f_);
    if (f_.standardize) {
      p.floats(n + "std_bias", shift_, {f_.hidden});
      p.vector(n + "std_scale", scale_, f_.hidden);
    }
    p.matrix("/embed_vision.embedding_projection.weight", project_.w, f_.width, f_.hidden);
    p.logits_only(false);
    rope_.params(p, "vision_rope");
  }

  int layers() const override { return int(layers_.size()); }
  Encoding begin(Ctx& c, const ImageBatch& b) const override {
    const int64_t N = b.patches.rows();
    Tensor x = in_(c, b.patches);
    const Tensor table = make_tensor(positions_.data, positions_.dtype, {2 * f_.positions, f_.hidden});
    c.run(BlendRows{x, table, b.tap_ids, b.tap_weights, x});
    const auto turns = [&](int axis) { return rope_.table(c, make_tensor(b.positions.as<int32_t>() + axis * N, DType::kI32, {N})); };
    return {b, x, layers_[0].in_norm(c, x), turns(0), turns(1)};
  }
  void layer(Ctx& c, const Encoding& e, int i) const override {
    layers_[size_t(i)](c, {e.x, e.h}, i + 1 < layers() ? &layers_[size_t(i + 1)].in_norm : nullptr, e, f_);
  }
  Tensor finish(Ctx& c, const Encoding& e) const override {
    Tensor y = c.temp({e.x.rows() / (f_.pool * f_.pool), f_.width});
    const ArenaScope scope(c);
    // The scale is lost again in the norm, unless shift and scale of the checkpoint come between (specs/gemma4.md 14.13).
    Tensor pooled = c.temp({y.rows(), f_.hidden});
    c.run(MeanRows{e.x, shift_, scale_, pooled, int(f_.pool * f_.pool), std::sqrt(float(f_.hidden))});
    c.run(MatMul{project_norm_(c, pooled), project_.w, {}, y, c.round_x});
    return y;
  }

 private:
  Shape f_;
  Linear in_, project_;
  Tensor positions_, shift_, scale_;
  Norm project_norm_;
  RopeKind rope_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<VisionTower> make_gemma4_tower(const Config& vision, int64_t width) { return std::make_unique<Tower>(vision, width); }

}  // namespace xylem
