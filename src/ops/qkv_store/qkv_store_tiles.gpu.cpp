#include <bit>

#include "device/opencl/opencl_rows.h"
#include "ops/qkv_store/qkv_store.h"

namespace xylem {
namespace {

// WG and TILE of qkv_store_tiles.cl. Below kFewest tokens their heads one by one are more work-groups.
constexpr int64_t kGroup = 256, kTile = 16, kFewest = 33, kMostTokens = 65535 * kTile, kMostDims = 512;

// All rows begin at multiples of 16 bytes.
bool aligned(const QkvStore& a) {
  bool yes = true;
  for (const Tensor* t : {&a.q, &a.k, &a.v, &a.y, &a.q_norm.w, &a.k_norm.w, &a.v_norm.w, &a.table, &a.cache.pool}) {
    const int64_t unit = t->rank && t->dtype == DType::kBF16 ? 8 : 4;
    yes &= reinterpret_cast<uintptr_t>(t->data) % 16 == 0;
    for (int i = 0; i + 1 < t->rank; i++) yes &= t->stride[size_t(i)] % unit == 0;
  }
  return yes && a.cache.offset % 8 == 0;
}
bool fits(const QkvStore& a, const Device&) {
  return a.tokens() >= kFewest && a.tokens() <= kMostTokens && a.dim() % 4 == 0 && a.dim() <= kMostDims && a.pairs() % 4 == 0 && aligned(a);
}

void run(const QkvStore& a, Device& d) {
  check(a);
  CHECK(fits(a, d), a.tokens(), a.dim());
  const KvCache& c = a.cache;
  const int64_t T = a.tokens(), H = a.heads(), K = a.kv_heads(), p = pack_width(c.pool.dtype), padded = round_up(a.dim(), KvCache::kLane);
  const auto lanes = int64_t(std::bit_ceil(uint64_t(std::max<int64_t>(4, padded / 8)))), at_once = kGroup / lanes;  // heads
  const int64_t tiles = (T + kTile - 1) / kTile, across = std::max<int64_t>(1, at_once / kTile), split = std::max<int64_t>(1, kTile / at_once);
  // Rounds of Q share cosines and sines, where there is work enough for all.
  const int64_t pairs_of_heads = (H + 2 * across - 1) / (2 * across), q_rounds = tiles * split * pairs_of_heads >= 2048 ? 2 : 1;
  const int64_t q_parts = split * ((pairs_of_heads + q_rounds - 1) / q_rounds), kv_heads = std::max<int64_t>(1, at_once / 8), kv_parts = (K + kv_heads - 1) / kv_heads;
  OpenClDevice& g = gpu(d);
  const std::string options = std::string(p == 1 ? "-DF32=1" : "-DF32=0") + " -DLANES=" + std::to_string(lanes) + " -DINTERLEAVED=" + std::to_string(int(a.interleaved));
  g.launch(g.kernel("qkv_store_tiles.cl", "qkv_store_tiles", options), {{size_t(q_parts + 2 * kv_parts), size_t(tiles), 1}, size_t(kGroup)}, a.q, a.k, a.v, a.q_norm.w, a.k_norm.w,
           a.v_norm.w, a.table, a.slots, c.pool, a.y, Rows(a.q), Rows(a.k), Rows(a.v), Rows(a.y), c.offset / p, K ? c.pool.stride[0] / p : 0, c.head_elements() / p,
           int(a.q_norm.on) | int(a.k_norm.on) << 1 | int(a.v_norm.on) << 2, int(bool(a.q_norm.w)) | int(bool(a.k_norm.w)) << 1 | int(bool(a.v_norm.w)) << 2, int(T), int(H), int(K),
           int(a.dim()), int(padded), int(a.pairs()), int(q_parts), int(q_rounds), int(kv_parts), c.block_tokens, 1.0f / float(a.dim()),
           a.eps, a.w_offset);
}
const Kernel<QkvStore> k(Dev::kOpenCl, "tiles", 20, fits, run, "33 tokens and more, heads of at most 512 numbers, dimensions and strides in fours");

}  // namespace
}  // namespace xylem
