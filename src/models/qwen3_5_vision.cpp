// The vision tower of Qwen3.5 (specs/qwen3_5.md 7.1): LayerNorms, a resampled table of positions beside two-dimensional RoPE, and a
// merger that makes a token of 2 x 2 patches.
#include <cmath>

#include "models/vision_towers.h"
#include "nn/vision_blocks.h"

namespace xylem {
namespace {

struct Shape {
  int64_t hidden, ffn, layers, patch, frames, channels, width, side;
  int heads, dim, merge;

  explicit Shape(const Config& v)
      : hidden(v.integer("hidden_size", 1, 65536)), ffn(v.integer("intermediate_size", 1, 1 << 20)), layers(v.integer("depth", 1, 4096)),
        patch(v.integer_or("patch_size", 16, 1, 256)), frames(v.integer_or("temporal_patch_size", 2, 1, 16)), channels(v.integer_or("in_channels", 3, 3, 3)),
        width(v.integer("out_hidden_size", 1, 1 << 20)), side(int64_t(std::llround(std::sqrt(double(v.integer_or("num_position_embeddings", 2304, 1, 1 << 24)))))),
        heads(int(v.integer("num_heads", 1, 1024))), dim(int(hidden / heads)), merge(int(v.integer_or("spatial_merge_size", 2, 1, 16))) {
    v.require_multiple("hidden_size", hidden, "num_heads", heads);
    if (dim % 4) v.fail("hidden_size / num_heads of the vision model is " + std::to_string(dim) + ", which is not a multiple of 4");
    if (side * side != v.integer_or("num_position_embeddings", 2304)) v.fail("num_position_embeddings is not a square");
    if (const std::string act = v.text_or("hidden_act", "gelu_pytorch_tanh"); act != "gelu_pytorch_tanh")
      v.fail("hidden_act '" + act + "' of the vision model is not supported (gelu_pytorch_tanh is)");
    if (!v.integers_or_none("deepstack_visual_indexes").empty()) v.fail("deepstack_visual_indexes is not supported");
  }
  int64_t patch_numbers() const { return channels * frames * patch * patch; }
  int64_t merged() const { return hidden * merge * merge; }
};

struct Layer {
  CenteredNorm norm1, norm2;
  Linear qkv, proj, fc1, fc2;

  void operator()(Ctx& c, const Encoding& e, const Shape& f) const {
    const Tensor x = e.x;
    {
      const ArenaScope scope(c);
      Tensor p = qkv(c, norm1(c, x));
      const auto part = [&](int i) { return heads(p, i * f.hidden, f.heads, f.dim); };
      rope(c, part(0), e.by_row), rope(c, part(1), e.by_row);
      c.run(Add{x, proj(c, attend_within_images(c, part(0), part(1), part(2), e.images.cu, 1.0f / std::sqrt(float(f.dim)))), x});
    }
    in_pieces(c, x.rows(), [&](int64_t from, int64_t n) {
      const Tensor rows = some_rows(x, from, n);
      Tensor y = fc1(c, norm2(c, rows));
      c.run(ActMul{y, {}, y, Act::kGeluTanh});
      c.run(Add{rows, fc2(c, y), rows});
    });
  }

  void params(ParamList& p, const std::string& n, const Shape& f) {
    norm1.params(p, n + "norm1", f.hidden);
    norm2.params(p, n + "norm2", f.hidden);
    linear_params(p, qkv, n + "attn.qkv", 3 * f.hidden, f.hidden);
    linear_params(p, proj, n + "attn.proj", f.hidden, f.hidden);
    linear_params(p, fc1, n + "mlp.linear_fc1", f.ffn, f.hidden);
    linear_params(p, fc2, n + "mlp.linear_fc2", f.hidden, f.ffn);
  }
};

// Two neighbours on an axis of `side` learned positions, and how much of each, for place i of n.
struct Taps {
  int lo, hi;
  float at_hi;
  Taps(int i, int n, int64_t side) {
    const double at = n > 1 ? double(i) * double(side - 1) / double(n - 1) : 0;
    lo = int(at), hi = int(std::min<int64_t>(lo + 1, side - 1));
    at_hi = float(at - lo);
  }
};

class Tower final : public VisionTower {
 public:
  explicit Tower(const Config& v) : f_(v), layers_(size_t(f_.layers)) {
    for (const int32_t axis : {0, 1})
      for (const float f : axial_frequencies(v, f_.dim / 2, 10000)) rope_.values.push_back(f), rope_.axes.push_back(axis);
  }

  int patch_numbers() const override { return int(f_.patch_numbers()); }
  int cell() const override { return f_.merge; }
  int width() const override { return int(f_.width); }
  int taps() const override { return 4; }
  std::string refusal(const ImagePatches&) const override { return {}; }
  void fill_patches(const ImagePatches& image, float* out) const override { std::copy(image.pixels.begin(), image.pixels.end(), out); }
  void fill_taps(const ImagePatches& image, int32_t* ids, float* weights) const override {
    for (int i = 0; i < image.patches(); i++) {
      const ImagePatches::At at = image.at(i);
      const Taps y(at.row, image.grid_h, f_.side), x(at.col, image.grid_w, f_.side);
      const auto id = [&](int row, int col) { return int32_t(row * f_.side + col); };
      const int32_t four[] = {id(y.lo, x.lo), id(y.lo, x.hi), id(y.hi, x.lo), id(y.hi, x.hi)};
      const float parts[] = {(1 - y.at_hi) * (1 - x.at_hi), (1 - y.at_hi) * x.at_hi, y.at_hi * (1 - x.at_hi), y.at_hi * x.at_hi};
      std::copy_n(four, 4, ids + 4 * i), std::copy_n(parts, 4, weights + 4 * i);
    }
  }

  void params(ParamList& p) override {
    const std::string n = "/visual.";
    p.logits_only(true);
    p.matrix(n + "patch_embed.proj.weight", in_.w, f_.hidden, f_.patch_numbers()).flat = true;
    p.floats(n + "patch_embed.proj.bias", in_.bias, {f_.hidden});
    p.table(n + "pos_embed.weight", positions_, f_.side * f_.side, f_.hidden);
    for (size_t i = 0; i < layers_.size(); i++) layers_[i].params(p, n + "blocks." + std::to_string(i) + ".", f_);
    merge_norm_.params(p, n + "merger.norm", f_.hidden);
    linear_params(p, merge1_, n + "merger.linear_fc1", f_.merged(), f_.merged());
    linear_params(p, merge2_, n + "merger.linear_fc2", f_.width, f_.merged());
    p.logits_only(false);
    rope_.params(p, "vision_rope");
  }

  int layers() const override { return int(layers_.size()); }
  Encoding begin(Ctx& c, const ImageBatch& b) const override {
    Tensor x = in_(c, b.patches);
    c.run(BlendRows{x, positions_, b.tap_ids, b.tap_weights, x});
    return {b, x, {}, rope_.table(c, b.positions), {}};
  }
  void layer(Ctx& c, const Encoding& e, int i) const override { layers_[size_t(i)](c, e, f_); }
  Tensor finish(Ctx& c, const Encoding& e) const override {
    const int64_t cell = f_.merge * f_.merge, tokens = e.x.rows() / cell;
    Tensor out = c.temp({tokens, f_.width});
    in_pieces(c, tokens, [&](int64_t from, int64_t n) {
      Tensor y = merge1_(c, make_tensor(merge_norm_(c, some_rows(e.x, from * cell, n * cell)).data, DType::kF32, {n, f_.merged()}));
      c.run(ActMul{y, {}, y, Act::kGeluErf});
      c.run(MatMul{y, merge2_.w, merge2_.bias, some_rows(out, from, n), c.round_x});
    });
    return out;
  }

 private:
  Shape f_;
  Linear in_, merge1_, merge2_;
  Tensor positions_;
  CenteredNorm merge_norm_;
  RopeKind rope_;  // of both axes: rows turn the first half of the pairs, columns the second
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<VisionTower> make_qwen3_5_tower(const Config& vision) { return std::make_unique<Tower>(vision); }

}  // namespace xylem
