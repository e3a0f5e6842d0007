#include "runtime/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "nn/vision.h"

namespace xylem {
namespace {

constexpr int64_t kMiB = 1 << 20;

constexpr int kDefaultRunning = 64;
constexpr int kDefaultSnapshotInterval = 256;   // tokens
constexpr int64_t kDefaultImageBytes = 128 * kMiB;
constexpr int64_t kTokensPerKeptState = 2048;   // about a prompt worth keeping

// States that the chunk being computed leaves: at the interval, at the prompt's last boundary, at its own end.
int64_t chunk_snapshots(const EngineConfig& config, const MemoryPlan& p) {
  return config.disable_radix_cache ? 0 : p.chunk_tokens / p.snapshot_interval + 2;
}

// Blocks of each group when the one that remembers longest holds `tokens`. A window group needs its window for each running
// request, the chunks that are being computed, and room to keep some prefixes. A state group needs the live state of each
// running request, the snapshots of one chunk, which drive each other out instead of older ones, and a snapshot for each
// prefix worth keeping: a state weighs as much as the keys and values of some thousand tokens, so one for each such many.
std::vector<int64_t> blocks_for(const std::vector<CacheGroup>& groups, int64_t tokens, const EngineConfig& config, const MemoryPlan& p) {
  std::vector<int64_t> blocks;
  for (const CacheGroup& g : groups) {
    const int64_t all = (tokens + p.page_size - 1) / p.page_size;
    if (g.is_state()) {
      blocks.push_back(p.max_running + chunk_snapshots(config, p) + (config.disable_radix_cache ? 0 : tokens / kTokensPerKeptState));
      continue;
    }
    if (g.window_tokens == 0) {
      blocks.push_back(all);
      continue;
    }
    const int64_t window = g.lookback_blocks(p.page_size) + 2, chunk = (p.step_tokens() + p.page_size - 1) / p.page_size + 1;
    blocks.push_back(std::min(all, p.max_running * window + 2 * chunk + all / 4));
  }
  return blocks;
}

int64_t bytes_for(const std::vector<CacheGroup>& groups, const std::vector<int64_t>& blocks, int page_size) {
  int64_t n = 0;
  for (size_t g = 0; g < groups.size(); g++) n += blocks[g] * int64_t(groups[g].block_bytes(page_size));
  return n;
}

int64_t largest_pool(const std::vector<CacheGroup>& groups, const std::vector<int64_t>& blocks, int page_size) {
  int64_t n = 0;
  for (size_t g = 0; g < groups.size(); g++) n = std::max(n, blocks[g] * int64_t(groups[g].block_bytes(page_size)));
  return n;
}

Result<int> snapshot_interval(const EngineConfig& config, int page_size) {
  const int interval = config.state_snapshot_interval;
  if (interval == 0) return (kDefaultSnapshotInterval + page_size - 1) / page_size * page_size;
  if (interval < 0 || interval % page_size != 0)
    return invalid(fmt::format("--state-snapshot-interval {} is not a multiple of the page size, {} tokens; use {} for instance", interval, page_size,
                               (std::clamp(interval, 1, 1 << 30) + page_size - 1) / page_size * page_size));
  return interval;
}

// As many that their states and the room for snapshots take no more than half of the cache.
int default_running(const EngineConfig& config, const MemoryPlan& p, int64_t budget) {
  if (p.state_bytes == 0) return kDefaultRunning;
  return int(std::clamp<int64_t>(budget / 2 / p.state_bytes - chunk_snapshots(config, p), 1, kDefaultRunning));
}

// A chunk should keep other streams waiting for well under a second or two: the products of a token take about
// 2 x parameters operations, a thread makes some 100 GFLOP/s of them.
int default_chunk(int64_t prompt_parameters, int threads) {
  const double tokens = 0.5 * double(threads) * 100e9 / (2.0 * double(std::max<int64_t>(prompt_parameters, 1)));
  int chunk = 256;
  while (chunk < 2048 && chunk * 2 <= tokens) chunk *= 2;
  return chunk;
}

void plan_images(const EngineConfig& config, const VisionTower& tower, bool whole, int max_tokens, const CacheRoom& room, MemoryPlan& p) {
  p.image_tokens = std::min(max_tokens, p.context);
  p.image_patches = p.image_tokens * tower.cell() * tower.cell();
  if (whole) p.whole_tokens = p.image_tokens;
  const int64_t by_default = std::min(kDefaultImageBytes, std::max<int64_t>(room.bytes, 0) / 16);
  const int64_t kept = config.mm_cache_bytes < 0 ? 0 : config.mm_cache_bytes ? config.mm_cache_bytes : by_default;
  p.image_rows = std::clamp<int64_t>(kept / (int64_t(tower.width()) * 4), 2 * p.image_tokens, 1 << 26);
}

}  // namespace

Result<MemoryPlan> plan_memory(const EngineConfig& config, const Model& model, int64_t prompt_parameters, int threads, const CacheRoom& room, int max_image_tokens) {
  MemoryPlan p;
  p.page_size = config.page_size ? config.page_size : 32;
  if (p.page_size != 16 && p.page_size != 32 && p.page_size != 64 && p.page_size != 128)
    return invalid(fmt::format("--page-size {} is not supported; use 16, 32, 64 or 128", p.page_size));
  if (config.context_length < 0 || config.context_length > model.max_context())
    return invalid(fmt::format("--context-length {} is out of range: this model is made for up to {} tokens", config.context_length, model.max_context()));
  if (config.chunked_prefill_size < 0 || config.max_running_requests < 0 || config.max_queued_requests < 0 || config.kv_memory_bytes < 0)
    return invalid("--chunked-prefill-size, --max-running-requests, --max-queued-requests and --kv-memory must not be negative");
  if (config.chunked_prefill_size > 65536 || config.max_running_requests > 4096)
    return invalid("--chunked-prefill-size is at most 65536 and --max-running-requests at most 4096");
  p.context = int(config.context_length ? config.context_length : model.max_context());
  p.chunk_tokens = config.chunked_prefill_size ? config.chunked_prefill_size : default_chunk(prompt_parameters, threads);
  p.pack_tokens = std::max(64, p.chunk_tokens / 8);
  p.max_queued = config.max_queued_requests ? config.max_queued_requests : 2048;
  p.max_logit_rows = int(std::clamp<int64_t>(64 * kMiB / (4 * model.vocab_size()), 16, 512));
  p.rope_axes = model.rope_axes();
  if (model.vision() && max_image_tokens > 0) plan_images(config, *model.vision(), model.whole_images(), max_image_tokens, room, p);

  const std::vector<CacheGroup>& groups = model.caches().groups();
  for (const CacheGroup& g : groups)
    if (g.is_state()) p.state_bytes += int64_t(g.block_bytes(p.page_size));
  if (p.state_bytes > 0) {
    TRY(p.snapshot_interval, snapshot_interval(config, p.page_size));
  }
  int64_t budget = config.kv_memory_bytes ? config.kv_memory_bytes : room.bytes > 0 ? room.bytes : 64 * kMiB;
  p.max_running = config.max_running_requests ? config.max_running_requests : default_running(config, p, budget);
  const int64_t least = 2 * p.page_size, need = bytes_for(groups, blocks_for(groups, least, config, p), p.page_size);
  if (!config.kv_memory_bytes && room.bytes <= 0) budget = std::max(budget, need);
  const int64_t wanted = int64_t(p.max_running) * p.context;
  int64_t lo = 0, hi = wanted;  // the largest number of tokens that fits
  while (lo < hi) {
    const int64_t mid = lo + (hi - lo + 1) / 2;
    const std::vector<int64_t> blocks = blocks_for(groups, mid, config, p);
    const bool too_much = bytes_for(groups, blocks, p.page_size) > budget;
    const bool too_large = room.max_pool_bytes > 0 && largest_pool(groups, blocks, p.page_size) > room.max_pool_bytes;
    if (too_large && !too_much) p.pool_bound = true;
    if (!too_much && !too_large) lo = mid;
    else hi = mid - 1;
  }
  if (lo < least) {
    if (p.pool_bound)
      return no_capacity(fmt::format("the KV cache of one kind of layers must be one piece of memory, of at most {:.1f} MiB on this device, which holds {} tokens: lower --max-running-requests or --page-size",
                                     double(room.max_pool_bytes) / kMiB, lo));
    return no_capacity(fmt::format("the KV cache gets {:.1f} MiB, which holds {} tokens; at least {:.1f} MiB are needed: raise --kv-memory, or lower --max-running-requests or --page-size",
                                   double(budget) / kMiB, lo, double(need) / kMiB));
  }
  const std::vector<int64_t> blocks = blocks_for(groups, lo, config, p);
  p.pool_blocks.assign(blocks.begin(), blocks.end());
  p.kv_bytes = bytes_for(groups, blocks, p.page_size);
  p.max_total_tokens = lo / p.page_size * p.page_size;
  return p;
}

}  // namespace xylem
