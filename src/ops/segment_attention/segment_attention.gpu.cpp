#include "ops/segment_attention/segment_attention.h"

#include <string>

#include "device/opencl/opencl_rows.h"
#include "ops/attention/attention_gpu.h"
#include "ops/check_shape.h"

namespace xylem {
namespace {

using Op = SegmentAttention;
constexpr int64_t kBlock = 64;  // tokens; BLOCK of segment_attention.cl

// The call over a cache at `memory`: segments are rows of a batch. Without memory its shapes alone are of use.
struct Cached {
  Attention call;
  size_t bytes = 0;

  Cached(const Op& a, std::byte* memory) : memory_(memory) {
    const int64_t n = a.q.dim[0], heads = a.q.dim[1], segments = a.cu.numel() - 1,
                  most_blocks = (n + kBlock - 1) / kBlock;
    KvCache cache{{}, 0, int(heads), int(a.q.dim[2]), int(kBlock)};
    const DType type = a.round_x ? DType::kBF16 : DType::kF32;
    cache.pool = take(shape({n / kBlock + segments, heads * cache.head_elements()}, type));
    call = {a.q, cache,  take(shape({segments, most_blocks}, DType::kI32)), a.cu, take(shape({segments}, DType::kI32)),
            a.y, a.scale};
    call.limits = take(shape({n}, DType::kI32));
  }

 private:
  Tensor take(Tensor t) {
    t.data = memory_ ? memory_ + bytes : nullptr;
    bytes += size_t(round_up(int64_t(t.bytes()), 256));
    return t;
  }
  std::byte* memory_;
};

template <const AttentionForm& kForm>
bool supports(const Op& a, const Device& d) {
  return kForm.supports(Cached(a, nullptr).call, d);
}
template <const AttentionForm& kForm>
void run(const Op& a, Device& d) {
  const int64_t n = a.q.dim[0], heads = a.q.dim[1], dim = a.q.dim[2], segments = a.cu.numel() - 1;
  check_shape("q", a.q, {n, heads, dim}), check_shape("k", a.k, {n, heads, dim}),
      check_shape("v", a.v, {n, heads, dim});
  check_contiguous("cu", a.cu, {segments + 1}, DType::kI32), check_contiguous("y", a.y, {n, heads, dim});
  if (n == 0) return;
  OpenClDevice& g = gpu(d);
  auto* memory = static_cast<std::byte*>(g.scratch(Cached(a, nullptr).bytes));
  if (!memory) return;  // sync() says so
  const Cached c(a, memory);
  const KvCache& cache = c.call.cache;
  const std::string options =
      "-DPAIR=" + std::to_string(pack_width(cache.pool.dtype)) + " -DBLOCK=" + std::to_string(kBlock);
  g.launch(g.kernel("segment_attention.cl", "segment_pack", options),
           {{size_t(n / KvCache::kLane + segments), size_t(heads), 1}, 256}, a.k, Rows(a.k), a.v, Rows(a.v), a.cu,
           int(segments), int(dim), int(cache.padded_dim()), cache.pool, c.call.table, int(c.call.table.dim[1]),
           c.call.kv_len, c.call.limits);
  kForm.run(c.call, g, false);
}

const Kernel<Op> vector(Dev::kOpenCl, "vector", 10, supports<kAttentionVector>, run<kAttentionVector>,
                        "heads of at most 1024 numbers");
const Kernel<Op> mma(Dev::kOpenCl, "mma", 15, supports<kAttentionMma>, run<kAttentionMma>);
const Kernel<Op> matrix(Dev::kOpenCl, "matrix", 20, supports<kAttentionMatrix>, run<kAttentionMatrix>);

}  // namespace
}  // namespace xylem
