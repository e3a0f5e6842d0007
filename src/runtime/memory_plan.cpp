#include "runtime/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace xylem {
namespace {

constexpr int64_t kMiB = 1 << 20;

// Blocks of each group when the one that remembers longest holds `tokens`. A window group needs its window for each running
// request, the chunks that are being computed, and room to keep some prefixes.
std::vector<int64_t> blocks_for(const std::vector<CacheGroup>& groups, int64_t tokens, const MemoryPlan& p) {
  std::vector<int64_t> blocks;
  for (const CacheGroup& g : groups) {
    const int64_t all = (tokens + p.page_size - 1) / p.page_size;
    if (g.window_tokens == 0) {
      blocks.push_back(all);
      continue;
    }
    const int64_t window = g.lookback_blocks(p.page_size) + 2, chunk = (p.chunk_tokens + p.page_size - 1) / p.page_size + 1;
    blocks.push_back(std::min(all, p.max_running * window + 2 * chunk + all / 4));
  }
  return blocks;
}

int64_t bytes_for(const std::vector<CacheGroup>& groups, const std::vector<int64_t>& blocks, int page_size) {
  int64_t n = 0;
  for (size_t g = 0; g < groups.size(); g++) n += blocks[g] * int64_t(groups[g].block_bytes(page_size));
  return n;
}

// A chunk should keep other streams waiting for well under a second or two: the products of a token take about
// 2 x parameters operations, a thread makes some 100 GFLOP/s of them.
int default_chunk(int64_t prompt_parameters, int threads) {
  const double tokens = 0.5 * double(threads) * 100e9 / (2.0 * double(std::max<int64_t>(prompt_parameters, 1)));
  int chunk = 256;
  while (chunk < 2048 && chunk * 2 <= tokens) chunk *= 2;
  return chunk;
}

}  // namespace

Result<MemoryPlan> plan_memory(const EngineConfig& config, const Model& model, int64_t prompt_parameters, int threads, int64_t available_bytes) {
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
  p.max_running = config.max_running_requests ? config.max_running_requests : 64;
  p.max_queued = config.max_queued_requests ? config.max_queued_requests : 2048;
  p.max_logit_rows = int(std::clamp<int64_t>(64 * kMiB / (4 * model.vocab_size()), 16, 512));

  const std::vector<CacheGroup>& groups = model.caches().groups();
  const int64_t wanted = int64_t(p.max_running) * p.context;
  const int64_t budget = config.kv_memory_bytes ? config.kv_memory_bytes : std::max<int64_t>(available_bytes / 2, 64 * kMiB);
  int64_t lo = 0, hi = wanted;  // the largest number of tokens that fits
  while (lo < hi) {
    const int64_t mid = lo + (hi - lo + 1) / 2;
    if (bytes_for(groups, blocks_for(groups, mid, p), p.page_size) <= budget) lo = mid;
    else hi = mid - 1;
  }
  const int64_t least = 2 * p.page_size;
  if (lo < least) {
    const int64_t need = bytes_for(groups, blocks_for(groups, least, p), p.page_size);
    return no_capacity(fmt::format("the KV cache gets {:.1f} MiB, which holds {} tokens; at least {:.1f} MiB are needed: raise --kv-memory, or lower --max-running-requests or --page-size",
                                   double(budget) / kMiB, lo, double(need) / kMiB));
  }
  for (int64_t b : blocks_for(groups, lo, p)) p.pool_blocks.push_back(int(b));
  p.kv_bytes = bytes_for(groups, blocks_for(groups, lo, p), p.page_size);
  p.max_total_tokens = lo / p.page_size * p.page_size;
  return p;
}

}  // namespace xylem
