// For tests and benchmarks: a vision tower without its language model.
#pragma once
#include <memory>
#include <utility>

#include "nn/vision.h"

namespace xylem {

// A model that is nothing but its tower.
class TowerAlone final : public Model {
 public:
  explicit TowerAlone(std::unique_ptr<VisionTower> t) : tower_(std::move(t)) {}
  const CacheLayout& caches() const override { return layout_; }
  std::vector<Param> params() override {
    ParamList p;
    tower_->params(p);
    return p.take();
  }
  Tensor forward(Ctx&) const override { return {}; }
  int64_t vocab_size() const override { return 1; }
  int64_t max_context() const override { return 1; }
  std::vector<std::string> prefixes() const override { return {""}; }
  const VisionTower* vision() const override { return tower_.get(); }

 private:
  std::unique_ptr<VisionTower> tower_;
  CacheLayout layout_{2};
};

}  // namespace xylem
