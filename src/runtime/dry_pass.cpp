#include "runtime/dry_pass.h"

#include <fmt/format.h>

#include "runtime/image_encoder.h"

namespace xylem {
namespace {

// Nobody reads it: says that a tensor is there.
void* const kThere = reinterpret_cast<void*>(uintptr_t(4096));

Tensor ints(std::initializer_list<int64_t> dims, DType type = DType::kI32) { return make_tensor(kThere, type, dims); }

// A step of some rows and tokens; logits for `logits` of them.
struct DryStep {
  Batch batch, tail;
  TakeTokens take;
  Sample sample;

  // images: with tokens that stand for some, of rows that are `width` wide
  DryStep(const StepLimits& limits, const CacheLayout& layout, int64_t tokens, int64_t rows, int64_t logits, int64_t width, bool images) {
    const int64_t M = limits.max_blocks();
    const auto fill = [&](Batch& b, int64_t T, int64_t B) {
      b.tokens = b.positions = ints({T}), b.cu_q = ints({B + 1}), b.kv_len = ints({B}), b.logit_rows = ints({logits});
      for (const CacheGroup& g : layout.groups()) b.groups.push_back({g.is_state() ? Tensor{} : ints({T}), ints({B, M}), g.is_state() ? ints({B}) : Tensor{}});
    };
    fill(batch, tokens, rows), fill(tail, logits, logits);
    if (limits.rope_axes > 1) batch.rope_positions = ints({limits.rope_axes, tokens});
    if (images) {
      batch.images = ints({limits.tokens, width}, DType::kF32), batch.image_rows = ints({tokens});
      if (limits.whole_images) batch.limits = ints({tokens});
    }
    const bool all_wanted = logits == tokens && rows == tokens;
    batch.logits_only = all_wanted ? &batch : &tail;
    const Tensor pool = ints({limits.rows, limits.context + 1});
    take = {pool, ints({tokens}), ints({tokens}), ints({tokens})};
    sample = {{}, ints({logits, int64_t(sizeof(SampleRow))}, DType::kU8), ints({0}), ints({0}, DType::kF32), ints({0}), pool, ints({logits}), ints({logits}, DType::kF32),
              ints({logits, kMaxTopLogprobs}), ints({logits, kMaxTopLogprobs}, DType::kF32), ints({0}, DType::kF32)};
  }
  DryStep(const DryStep&) = delete;
};

std::vector<Tensor> dry_pools(const CacheLayout& layout, int block_tokens) {
  std::vector<Tensor> pools;
  for (const CacheGroup& g : layout.groups()) {
    const DType type = cache_type(layout, g);
    pools.push_back(make_tensor(kThere, type, {1, int64_t(g.block_bytes(block_tokens) / dtype_bytes(type))}));
  }
  return pools;
}

}  // namespace

DType cache_type(const CacheLayout& layout, const CacheGroup& group) {
  return group.is_state() || layout.kv_element_bytes() == 4 ? DType::kF32 : DType::kBF16;
}

Status DryPass::check() const {
  if (refused.empty()) return {};
  std::string calls;
  for (const auto& [op, call] : refused) calls += (calls.empty() ? "" : "; ") + call;
  return unsupported("this model needs operations that the device has no kernels for: " + calls + ". Use --device cpu, or --allow-fallback to run them on the CPU, slowly");
}

Result<DryPass> dry_pass(Device& device, const Model& model, const StepLimits& limits, bool round_x, bool build) {
  DryPass out;
  DryNotes notes;
  notes.call = device.begin_dry(build);
  Stream stream(device);
  const std::vector<Tensor> pools = dry_pools(model.caches(), limits.block_tokens);
  const VisionTower* const tower = limits.image_patches > 0 ? model.vision() : nullptr;
  bool images = false;
  const auto step = [&](int64_t tokens, int64_t rows, int64_t logits) {
    DryStep s(limits, model.caches(), tokens, rows, logits, tower ? tower->width() : 0, images);
    Arena arena;
    Ctx c{stream, s.batch, pools, arena, limits.block_tokens, round_x, /*dry=*/true, nullptr, &notes};
    c.run(s.take);
    s.sample.logits = model.forward(c);
    if (s.sample.logits) c.run(s.sample);
    out.arena_bytes = std::max(out.arena_bytes, arena.peak());
  };
  step(limits.tokens, limits.rows, limits.logit_rows);
  for (int64_t n = 1; n < limits.rows; n *= 2) step(n, n, n);
  step(limits.rows, limits.rows, limits.rows);
  for (int64_t n = 2; n < limits.tokens; n *= 2) step(n, 1, 1);
  if (tower) {
    images = true;
    step(limits.tokens, limits.rows, limits.logit_rows);
    for (int64_t n = 1; n < limits.tokens; n *= 2) step(n, 1, 1);
    const auto encode = [&](int64_t patches) { out.vision_bytes = std::max(out.vision_bytes, ImageEncoder::dry_arena_bytes(device, *tower, patches, round_x, &notes)); };
    const int64_t cell = int64_t(tower->cell()) * tower->cell();
    for (int64_t n = cell; n < limits.image_patches; n *= 2) encode(n);
    encode(limits.image_patches);
  }
  if (notes.call) {
    out.scratch_bytes = device.end_dry();
    TRY_VOID(device.sync());
  }
  out.arena_bytes += 4096;
  out.refused = std::move(notes.refused), out.fallback = std::move(notes.fallback);
  return out;
}

std::vector<MatMul> products_of(Device& device, const Model& model, const StepLimits& limits, bool round_x) {
  std::vector<MatMul> products;
  DryNotes notes;
  notes.products = &products;
  const VisionTower* const tower = limits.image_patches > 0 ? model.vision() : nullptr;
  DryStep s(limits, model.caches(), limits.tokens, limits.rows, limits.logit_rows, 0, /*images=*/false);
  Stream stream(device);
  Arena arena;
  const std::vector<Tensor> pools = dry_pools(model.caches(), limits.block_tokens);
  Ctx c{stream, s.batch, pools, arena, limits.block_tokens, round_x, /*dry=*/true, nullptr, &notes};
  model.forward(c);
  if (tower) ImageEncoder::dry_arena_bytes(device, *tower, limits.image_patches, round_x, &notes);
  return products;
}

}  // namespace xylem
