#include "runtime/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/dry_pass.h"

namespace xylem {

Result<std::unique_ptr<Runner>> Runner::create(std::unique_ptr<Device> device, std::unique_ptr<Model> model, LoadedWeights weights, const StepLimits& limits,
                                               const std::vector<int>& pool_blocks, bool round_x) {
  std::unique_ptr<Runner> r(new Runner(std::move(device), std::move(model), std::move(weights), limits, round_x));
  TRY_VOID(r->allocate(pool_blocks));
  return r;
}

Status Runner::allocate(const std::vector<int>& pool_blocks) {
  const CacheLayout& layout = model_->caches();
  for (size_t g = 0; g < layout.groups().size(); g++) {
    const size_t block_bytes = layout.groups()[g].block_bytes(limits_.block_tokens);
    pool_memory_.emplace_back(*device_, block_bytes * size_t(pool_blocks[g]));
    if (!pool_memory_.back()) return no_capacity(fmt::format("the KV cache of {} blocks of {} bytes cannot be allocated; lower --kv-memory", pool_blocks[g], block_bytes));
    const DType type = cache_type(layout, layout.groups()[g]);
    CHECK(block_bytes % dtype_bytes(type) == 0, g, block_bytes);
    pools_.push_back(make_tensor(pool_memory_.back().data(), type, {pool_blocks[g], int64_t(block_bytes / dtype_bytes(type))}));
  }
  token_pool_ = shape({limits_.rows, limits_.context + 1}, DType::kI32);
  token_memory_ = Buffer(*device_, token_pool_.bytes());
  token_pool_.data = token_memory_.data();
  TRY(const DryPass dry, dry_pass(*device_, *model_, limits_, round_x_, /*build=*/false));
  TRY_VOID(dry.check());
  arena_memory_ = Buffer(*device_, dry.arena_bytes);
  TRY_VOID(allocate_vision(dry.vision_bytes));
  if (!token_memory_ || !arena_memory_ || !device_->reserve_scratch(dry.scratch_bytes))
    return no_capacity(fmt::format("{} bytes for activations cannot be allocated; lower --chunked-prefill-size or --max-running-requests", dry.arena_bytes + dry.scratch_bytes));
  return {};
}

Status Runner::allocate_vision(size_t arena_bytes) {
  const VisionTower* const tower = limits_.image_patches > 0 ? model_->vision() : nullptr;
  if (!tower) return {};
  const ImageEncoder::Limits limits{limits_.image_patches, limits_.image_rows, arena_bytes};
  encoder_ = std::make_unique<ImageEncoder>(stream_, *tower, limits, round_x_);
  images_ = shape({limits_.tokens, tower->width()});
  image_memory_ = Buffer(*device_, images_.bytes());
  images_.data = image_memory_.data();
  if (!encoder_->ok() || !images_.data)
    return no_capacity(fmt::format("{} bytes for images cannot be allocated; lower --mm-cache-size, or use --language-model-only",
                                   ImageEncoder::kept_bytes(*tower, limits) + limits.arena_bytes + images_.bytes()));
  return {};
}

Status Runner::begin(StepSlab& s, Plan* plan) {
  constexpr double kBesideStep = 0.03, kAlone = 0.25;  // seconds of the vision tower between steps; a request may come any time
  if (!s.encode.images.empty() && !plan) {
    (void)device_->sync();  // the step ahead takes none of the tower's time, and says itself what went wrong with it
    TRY(s.encode.done, encoder_->advance(s.encode.images, s.plan.rows.empty() ? kAlone : kBesideStep));
  }
  if (s.plan.rows.empty()) return {};
  bool& pending = s.batch.tokens.numel() > s.batch.kv_len.numel() ? explain_prompt_ : explain_decode_;
  if (pending && !plan) return run_explained(s, pending, &pending == &explain_prompt_ ? "prompt" : "decode");
  if (!s.images.empty()) {
    s.batch.images = images_;
    TRY_VOID(encoder_->place(s.images, images_));
  }
  if (failed_.exchange(false)) graphs_.clear(), s.distrust();  // one of them may lack what failed
  s.to_device();
  if (plan) stream_.begin_capture(plan);
  if (plan || tap_) forward(s);
  else enqueue(s);
  if (plan) stream_.end_capture();
  s.to_host();
  s.done = device_->fence();
  const Status begun = device_->errors();
  if (begun.ok()) return {};
  failed_ = true;
  (void)device_->sync();  // for whatever of it is in the queue
  s.done = nullptr;
  return begun;
}

Status Runner::end(StepSlab& s) {
  if (!s.done) return {};
  const Status done = s.done->wait();
  s.done = nullptr;
  if (!done.ok()) failed_ = true;
  return done;
}

void Runner::forward(StepSlab& s) {
  Arena arena(arena_memory_.data(), arena_memory_.bytes());
  Ctx c{stream_, s.batch, pools_, arena, limits_.block_tokens, round_x_, false, tap_};
  stream_.run(s.take);
  s.sample.logits = model_->forward(c);
  if (s.sample.logits) stream_.run(s.sample);
}

Runner::StepShape Runner::shape_of(const StepSlab& s) {
  return {s.batch.tokens.data, s.batch.tokens.numel(), s.batch.kv_len.numel(), s.batch.logit_rows.numel(), s.sample.adjust_ids.numel(), s.sample.chosen_ids.numel(), !s.images.empty()};
}

// A shape that is met for the second time gets a graph: prompts' lengths seldom come again, decode steps' do.
Runner::Graph* Runner::graph_for(const StepSlab& s) {
  if (s.batch.kv_len.numel() > graph_max_rows_ || device_->fallback()) return nullptr;
  const auto [it, met] = graphs_.try_emplace(shape_of(s));
  it->second.used = steps_;
  if (graphs_.size() > kMaxGraphs) graphs_.erase(std::min_element(graphs_.begin(), graphs_.end(), [](auto& a, auto& b) { return a.second.used < b.second.used; }));
  return met ? nullptr : &it->second;
}

void Runner::enqueue(StepSlab& s) {
  steps_++;
  Graph* const graph = graph_for(s);
  s.host = {};
  if (graph && !graph->plan) {
    Plan plan;
    stream_.begin_capture(&plan);
    forward(s);
    stream_.end_capture();
    graph->plan = device_->compile(plan);
    if (!graph->plan) graph_max_rows_ = 0, graphs_.clear();  // this device has none
    return;
  }
  const double t0 = now_seconds();
  if (graph) graph->plan->run();
  else forward(s);
  s.host = {graph ? StepSlab::Host::kReplayed : StepSlab::Host::kEager, now_seconds() - t0, graph ? graph->plan->launches() : 0};
}

Status Runner::run_explained(StepSlab& s, bool& pending, const char* kind) {
  Plan plan;
  TRY_VOID(run(s, &plan));
  pending = false;
  std::map<std::pair<std::string, std::string>, int> calls;
  for (const Launch& l : plan) calls[{l.op, l.kernel}]++;
  std::string text;
  for (const auto& [k, n] : calls) text += fmt::format("{}{}:{} x{}", text.empty() ? "" : ", ", k.first, k.second, n);
  log::info("kernels of a {} step of {} tokens: {}", kind, s.batch.tokens.numel(), text);
  return {};
}

}  // namespace xylem
