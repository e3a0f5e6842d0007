#include <fmt/format.h>

#include <algorithm>

#include "device/opencl/opencl_device.h"
#include "ops/latent_attention/latent_attention.h"

namespace xylem {
namespace {

// Of latent_attention.cl and latent_head_product.cl
constexpr size_t kGroup = 128;
constexpr int64_t kRowStep = 192, kInputStep = 512;  // sizes that kernels are compiled for
constexpr int64_t kHeads = 8, kTile = 128, kMaxSplits = 64, kProductTokens = 8;
constexpr int64_t kMatrixRank = 512, kMatrixWidth = 576;
constexpr int64_t kManyTokens = 64;                // from which on matrix instructions take twice the heads
constexpr int64_t kMaxWidth = 1024;                // in local memory with a tile's scores
constexpr int64_t kScratchBytes = 256ll << 20;     // of a pass over some tokens, unless one token needs more
constexpr int64_t kGroupsPerUnit = 4;              // work-groups for each compute unit before keys are no longer split
constexpr int64_t kProductGroups = 512;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Numbers that lie one after the other can be read 8 at a time.
bool aligned(const LatentCache& c) {
  return c.width() % 8 == 0 && c.offset % 8 == 0 && c.pool.stride[0] % 8 == 0 && reinterpret_cast<uintptr_t>(c.pool.data) % 16 == 0;
}

bool supports(const LatentAttention& a, const Device&) {
  const auto weights = [](DType t) { return t == DType::kF32 || t == DType::kBF16 || t == DType::kF16; };
  const DType cache = a.cache.pool.dtype;
  return (cache == DType::kF32 || cache == DType::kBF16) && weights(a.w_uk_t.dtype) && weights(a.w_uv.dtype) && a.cache.width() <= kMaxWidth &&
         a.w_uk.dim[1] <= kMaxWidth;
}

// Attention on matrix instructions: bfloat16 latents whose rows are whole fragments and lines of words.
bool supports_matrix(const LatentAttention& a, const Device& d) {
  const OpenClInfo& info = static_cast<const OpenClDevice&>(d).info();
  const LatentCache& c = a.cache;
  const bool has = info.lanes == LaneMode::kIntel ? info.matrix : info.lanes != LaneMode::kNvidia;
  return has && supports(a, d) && c.pool.dtype == DType::kBF16 && aligned(c) && c.width() % 16 == 0 && c.rank % 32 == 0 && c.rank <= kMatrixRank && c.width() <= kMatrixWidth;
}

struct Product {
  const float* x;
  int64_t x_token, x_head;
  const Tensor& w;
  float* y;
  int64_t y_token, y_head, tokens, tail;
};
void product(OpenClDevice& g, const Product& p) {
  const int64_t H = p.w.dim[0], N = p.w.dim[1], K = p.w.dim[2], panels = ceil_div(N, kPanel), blocks = ceil_div(p.tokens, kProductTokens);
  const int64_t groups = std::clamp<int64_t>(ceil_div(kProductGroups, H * blocks), 1, panels), each = ceil_div(panels, groups);
  const int type = p.w.dtype == DType::kF32 ? 0 : p.w.dtype == DType::kBF16 ? 1 : 2;
  const std::string options = fmt::format("-DW_TYPE={} -DKMAX={}", type, round_up(K, kInputStep));
  g.launch(g.kernel("latent_head_product.cl", "latent_head_product", options), {{size_t(ceil_div(panels, each)), size_t(H), size_t(blocks)}, kGroup},
           const_cast<float*>(p.x), p.x_token, int(p.x_head), p.w, p.y, p.y_token, int(p.y_head), int(p.tokens), int(K), int(N), int(each), int(p.tail));
}

// kPlain and kAuto run the absorbed form as well: the results agree.
template <bool kMatrix>
void run(const LatentAttention& a, Device& d) {
  const LatentCache& c = a.cache;
  const int64_t T = a.q.dim[0], H = a.q.dim[1], B = a.kv_len.numel(), nope = a.w_uk_t.dim[2], rank = c.rank, width = c.width(), v = a.w_uv.dim[1];
  CHECK(a.q.dim[2] == nope + c.rope_dim && a.q.stride[2] == 1 && a.w_uk_t.dim[0] == H && a.w_uk_t.dim[1] == rank, nope, c.rope_dim, rank);
  CHECK(a.w_uv.dim[0] == H && a.w_uv.dim[2] == rank && a.y.numel() == T * H * v && a.y.contiguous(), H, v);
  CHECK(a.cu_q.numel() == B + 1 && a.table.dim[0] == B && c.block_tokens % 16 == 0, B, c.block_tokens);
  if (T == 0 || B == 0) return;
  OpenClDevice& g = gpu(d);
  const bool wide = kMatrix && T >= kManyTokens && H > kHeads;
  const int64_t blocks = ceil_div(H, wide ? 2 * kHeads : kHeads), keys = a.table.dim[1] * c.block_tokens, wanted = kGroupsPerUnit * g.info().compute_units;
  const int64_t splits = std::clamp<int64_t>(wanted / (T * blocks), 1, std::min(kMaxSplits, ceil_div(keys, kTile)));
  // Working memory of a token: queries and sums; of each split, sums and two numbers more.
  const int64_t parts = splits > 1 ? H * splits : 0, floats = H * width + parts * (rank + 2), pass = std::clamp<int64_t>(kScratchBytes / 4 / floats, 1, T);
  auto* qz = static_cast<float*>(g.scratch(size_t(pass * floats) * sizeof(float)));
  if (!qz) return;  // sync() says so
  float *partial = qz + pass * H * width, *stats = partial + pass * parts * rank;
  const char* file = kMatrix ? "latent_attention_matrix.cl" : "latent_attention.cl";
  const std::string options = kMatrix ? fmt::format("-DROW={} -DHEAD_TILES={}", round_up(width, kRowStep), wide ? 2 : 1)
                                      : fmt::format("-DBF16={} -DALIGNED={} -DROW={} -DPAIRS={}", int(c.pool.dtype == DType::kBF16), int(aligned(c)),
                                                    round_up(width, kRowStep), ceil_div(rank, 2 * int64_t(kGroup)));
  for (int64_t t0 = 0; t0 < T; t0 += pass) {
    const int64_t n = std::min(pass, T - t0);
    product(g, {a.q.as() + t0 * a.q.stride[0], a.q.stride[0], a.q.stride[1], a.w_uk_t, qz, H * width, width, n, c.rope_dim});
    g.launch(g.kernel(file, "latent_attend", options), {{size_t(blocks), size_t(n), size_t(splits)}, wide ? 2 * kGroup : kGroup}, qz, c.pool, c.pool.stride[0],
             c.offset, c.block_tokens, a.table, int(a.table.stride[0]), a.cu_q, a.kv_len, int(B), partial, stats, int(t0), int(H), int(rank), int(width), a.scale);
    if (splits > 1)
      g.launch(g.kernel("latent_merge.cl", "latent_merge"), {{size_t(H), size_t(n), size_t(ceil_div(rank, int64_t(kGroup)))}, kGroup}, qz, partial,
               stats, int(H), int(rank), int(width), int(splits));
    product(g, {qz, H * width, width, a.w_uv, a.y.as() + t0 * H * v, H * v, v, n, 0});
  }
}
const Kernel<LatentAttention> k(Dev::kOpenCl, "absorbed", 10, supports, run<false>);
const Kernel<LatentAttention> km(Dev::kOpenCl, "absorbed_matrix", 20, supports_matrix, run<true>);

}  // namespace
}  // namespace xylem
