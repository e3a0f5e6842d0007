#include "device/opencl/opencl_rows.h"
#include "ops/attention/attention.h"

namespace xylem {
namespace {

constexpr size_t kGroup = 256;  // WG of kv_store.cl

// A group writes 16 dimensions of V and 16 words of K: half as many groups would do for K of bf16.
void run(const KvStore& a, Device& d) {
  const KvCache& c = a.cache;
  const int64_t p = pack_width(c.pool.dtype), T = a.slots.numel();
  CHECK(a.k.dim[0] == T && a.v.dim[0] == T && a.k.dim[1] == c.kv_heads && a.v.dim[1] == c.kv_heads && a.k.cols() == c.dim && a.v.cols() == c.dim, T, c.dim);
  CHECK(c.block_tokens % KvCache::kLane == 0 && c.pool.stride[0] % p == 0 && c.offset % p == 0, c.block_tokens, c.offset);
  OpenClDevice& g = gpu(d);
  const size_t groups = size_t(round_up(T, 16) / 16);
  g.launch(g.kernel("kv_store.cl", "kv_store", p == 1 ? "-DF32=1" : "-DF32=0"), {{groups, size_t(c.kv_heads), size_t(c.padded_dim() / KvCache::kLane)}, kGroup}, a.k,
           Rows(a.k), a.v, Rows(a.v), a.slots, c.pool, c.offset / p, int(T), c.dim, int(c.padded_dim()), c.block_tokens, c.pool.stride[0] / p,
           c.head_elements() / p);
}
const Kernel<KvStore> k(Dev::kOpenCl, "panels", 10, nullptr, run);

}  // namespace
}  // namespace xylem
