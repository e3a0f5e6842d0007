#include <bit>

#include "device/opencl/opencl_rows.h"
#include "ops/qkv_store/qkv_store.h"

namespace xylem {
namespace {

constexpr int64_t kGroup = 256;  // WG of qkv_store.cl: 8 elements of a head a work-item, at least 4 of them a head

int64_t padded(const QkvStore& a) { return round_up(a.dim(), KvCache::kLane); }
bool fits(const QkvStore& a, const Device&) { return padded(a) <= 8 * kGroup; }

void run(const QkvStore& a, Device& d) {
  check(a);
  CHECK(fits(a, d), a.dim());
  const KvCache& c = a.cache;
  const int64_t T = a.tokens(), H = a.heads(), K = a.kv_heads(), p = pack_width(c.pool.dtype);
  const auto lanes = int64_t(std::bit_ceil(uint64_t(std::max<int64_t>(4, padded(a) / 8)))), at_once = kGroup / lanes;  // heads
  const int64_t tile = int64_t(std::bit_ceil(uint64_t(std::min<int64_t>({T, at_once, KvCache::kLane}))));             // tokens of K and V
  const int64_t q_groups = (T * H + at_once - 1) / at_once, across = (K * tile + at_once - 1) / at_once, kv_groups = (T + tile - 1) / tile * across;
  CHECK((q_groups + 2 * kv_groups) * kGroup < INT32_MAX, T, H, K);
  OpenClDevice& g = gpu(d);
  g.launch(g.kernel("qkv_store.cl", "qkv_store", p == 1 ? "-DF32=1" : "-DF32=0"), {{size_t(q_groups + 2 * kv_groups), 1, 1}, size_t(kGroup)}, a.q, a.k, a.v, a.q_norm.w, a.k_norm.w,
           a.v_norm.w, a.table, a.slots, c.pool, a.y, Rows(a.q), Rows(a.k), Rows(a.v), Rows(a.y), c.offset / p, K ? c.pool.stride[0] / p : 0, c.head_elements() / p,
           int(a.q_norm.on) | int(a.k_norm.on) << 1 | int(a.v_norm.on) << 2, int(bool(a.q_norm.w)) | int(bool(a.k_norm.w)) << 1 | int(bool(a.v_norm.w)) << 2, int(T), int(H), int(K),
           int(a.dim()), int(padded(a)), int(a.pairs()), int(a.interleaved), int(lanes), std::countr_zero(uint64_t(tile)), int(q_groups), int(kv_groups), c.block_tokens, a.eps,
           a.w_offset);
}
const Kernel<QkvStore> k(Dev::kOpenCl, "heads", 10, fits, run, "heads of at most 2048 numbers");

}  // namespace
}  // namespace xylem
