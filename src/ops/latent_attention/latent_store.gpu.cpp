#include "device/opencl/opencl_device.h"
#include "ops/latent_attention/latent_attention.h"

namespace xylem {
namespace {

constexpr size_t kGroup = 64;  // WG of latent_store.cl

bool supports(const LatentStore& a, const Device&) { return a.cache.pool.dtype == DType::kF32 || a.cache.pool.dtype == DType::kBF16; }

void run(const LatentStore& a, Device& d) {
  const LatentCache& c = a.cache;
  const int64_t T = a.slots.numel();
  CHECK(a.latent.rows() == T && a.latent.cols() == c.rank && a.k_rope.rows() == T && a.k_rope.cols() == c.rope_dim, T, c.rank, c.rope_dim);
  CHECK(a.latent.stride[1] == 1 && a.k_rope.stride[1] == 1, T);
  OpenClDevice& g = gpu(d);
  g.launch(g.kernel("latent_store.cl", "latent_store", c.pool.dtype == DType::kBF16 ? "-DBF16=1" : "-DBF16=0"), {{size_t(T), 1, 1}, kGroup}, a.latent,
           a.latent.stride[0], a.k_rope, a.k_rope.stride[0], a.slots, c.pool, c.pool.stride[0], c.offset, c.block_tokens, c.rank, int(c.width()));
}
const Kernel<LatentStore> k(Dev::kOpenCl, "tokens", 10, supports, run);

}  // namespace
}  // namespace xylem
