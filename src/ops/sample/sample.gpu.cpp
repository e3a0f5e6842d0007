// The memory between the launches of sample.cl: states of rows, then of every chunk its best (8 bytes), its weight that stays
// (8 bytes) and its weight (4 bytes).
#include "device/opencl/opencl_rows.h"
#include "ops/sample/sample.h"

namespace xylem {
namespace {

constexpr int64_t kChunk = 1024, kState = 32;    // CHUNK and sizeof(RowState) of sample.clh
constexpr size_t kGroup = 256, kWideGroup = 512;  // WG, WIDE_WG
constexpr int64_t kMaxSize = 1 << 19;            // what sums of weights and lists of chunks have room for

bool fits(const Sample& a, const Device&) { return a.logits.cols() <= kMaxSize; }

void run(const Sample& a, Device& d) {
  OpenClDevice& g = gpu(d);
  const int64_t R = a.logits.rows(), size = a.logits.cols(), chunks = (size + kChunk - 1) / kChunk, stride = a.logits.stride[0], pool_stride = a.token_pool.stride[0];
  auto* memory = static_cast<std::byte*>(g.scratch(size_t(R * (kState + chunks * 20))));
  void *states = memory, *best = memory + R * kState, *stay = memory + R * (kState + chunks * 8), *weight = memory + R * (kState + chunks * 16);
  const NDRange by_chunk{{size_t(R * chunks), 1, 1}, kGroup}, by_row{{size_t(R), 1, 1}, kGroup}, by_row_wide{{size_t(R), 1, 1}, kWideGroup};
  const int n = int(size), c = int(chunks);
  g.launch(g.kernel("sample.cl", "sample_chunks"), by_chunk, a.logits, stride, n, c, a.rows, a.adjust_ids, a.adjust_add, a.token_pool, pool_stride, best, weight);
  g.launch(g.kernel("sample_cut.cl", "sample_cut"), by_row_wide, a.logits, stride, n, c, a.rows, best, weight, a.chosen_ids, states, a.tokens, a.logprobs, a.top_ids, a.top_logprobs,
           a.chosen_logprobs);
  g.launch(g.kernel("sample.cl", "sample_weigh"), by_chunk, a.logits, stride, n, c, a.rows, states, stay);
  g.launch(g.kernel("sample.cl", "sample_pick"), by_row, a.logits, stride, n, c, a.rows, states, stay, a.token_pool, pool_stride, a.tokens, a.logprobs);
}

void take(const TakeTokens& a, Device& d) {
  OpenClDevice& g = gpu(d);
  const int64_t T = a.tokens.numel();
  g.launch(g.kernel("sample.cl", "take_tokens"), {{(size_t(T) + kGroup - 1) / kGroup, 1, 1}, kGroup}, a.token_pool, int64_t(a.token_pool.stride[0]), a.slots, a.positions, a.tokens,
           int(T));
}

const Kernel<Sample> k(Dev::kOpenCl, "chunks", 10, fits, run, "vocabularies of at most 524288 tokens");
const Kernel<TakeTokens> take_kernel(Dev::kOpenCl, "items", 10, nullptr, take);

}  // namespace
}  // namespace xylem
