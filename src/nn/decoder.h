// A decoder of equal layers: embedding, layers, last norm, head. What most language models are, once their layer is written.
#pragma once
#include "nn/blocks.h"
#include "nn/vision.h"

namespace xylem {

// Shape: the config as read, with hidden, vocab, context and layers. Layer: in_norm, params(list, "layers.0.", shape) and
// operator()(ctx, residual with h = in_norm(x), the next layer's norm or null, rope table, shape). A family's make() fills the
// public members, which are fixed from then on.
template <class Shape, class Layer>
class Decoder final : public Model {
 public:
  Decoder(Shape shape, const ModelOptions& options) : f(std::move(shape)), layout(options.kv_dtype == DType::kF32 ? 4 : 2), layers(size_t(f.layers)) {
    ends.vocab = f.vocab, ends.hidden = f.hidden;
  }

  Shape f;
  CacheLayout layout;
  DecoderEnds ends;
  RopeKind rope;  // without values, layers get no table
  std::vector<Layer> layers;
  std::vector<std::string> name_prefixes{"model."};
  std::map<std::string, std::string> unused_names;
  std::string no_float16;
  std::unique_ptr<VisionTower> tower;

  const CacheLayout& caches() const override { return layout; }
  int64_t vocab_size() const override { return f.vocab; }
  int64_t max_context() const override { return f.context; }
  std::vector<std::string> prefixes() const override { return name_prefixes; }
  std::map<std::string, std::string> unused() const override { return unused_names; }
  std::string float16_problem() const override { return no_float16; }
  const VisionTower* vision() const override { return tower.get(); }
  int rope_axes() const override { return rope.axes.empty() ? 1 : 3; }

  std::vector<Param> params() override {
    ParamList p;
    ends.front_params(p);
    for (size_t i = 0; i < layers.size(); i++) layers[i].params(p, "layers." + std::to_string(i) + ".", f);
    ends.back_params(p);
    rope.params(p, "rope");
    if (tower) tower->params(p);
    return p.take();
  }

  Tensor forward(Ctx& c) const override {
    Tensor x = ends.embed(c, c.batch.tokens);
    splice_images(c, x);
    const Tensor table = rope.values.empty() ? Tensor{} : rope.table(c);
    const Residual r{x, layers[0].in_norm(c, x)};
    for (size_t i = 0; i < layers.size(); i++) {
      c.hidden(int(i), x);
      layers[i](c, r, i + 1 < layers.size() ? &layers[i + 1].in_norm : nullptr, table, f);
    }
    return ends.logits(c, x, layers.size());
  }
};

}  // namespace xylem
