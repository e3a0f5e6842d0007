#include <fmt/format.h>

#include "device/opencl/opencl_device.h"
#include "ops/gated_delta/gated_delta.h"

namespace xylem {
namespace {

constexpr int64_t kCols = 16, kRows = 16;  // of gated_delta.cl; kCols also of delta_states.cl
constexpr int64_t kParts = 8, kMaxParts = 16;

bool steps_support(const GatedDelta& a, const Device&) { return a.k.dim[2] <= kRows * kMaxParts; }

struct Sizes {
  int64_t T, Hk, K, Hv, V, B;
  explicit Sizes(const GatedDelta& a) : T(a.q.dim[0]), Hk(a.k.dim[1]), K(a.k.dim[2]), Hv(a.v.dim[1]), V(a.v.dim[2]), B(a.state.rows()) {
    const StateCache& s = a.state;
    const int64_t gates = a.per_channel() ? Hv * K : Hv;
    CHECK(a.q.dim[1] == Hk && a.q.dim[2] == K && Hv % Hk == 0 && a.k.dim[0] == T && a.v.dim[0] == T && a.y.dim[0] == T, T, Hk, Hv, K);
    CHECK(a.q.stride[2] == 1 && a.k.stride[2] == 1 && a.v.stride[2] == 1 && a.y.numel() == T * Hv * V && a.y.stride[0] == Hv * V, V);
    CHECK(a.a.rows() == T && a.a.cols() == gates && a.dt_bias.numel() == gates && a.a_log.numel() == Hv && a.b.rows() == T && a.b.cols() == Hv, gates);
    CHECK(a.a.stride[1] == 1 && a.b.stride[1] == 1 && s.cu_q.numel() == B + 1 && s.state_in.numel() == B && s.table.dim[0] == B && s.pool.dtype == DType::kF32, B);
  }
};

void run_steps(const GatedDelta& a, Device& d) {
  const StateCache& s = a.state;
  const auto [T, Hk, K, Hv, V, B] = Sizes(a);
  if (T == 0 || B == 0) return;
  const int64_t parts = K <= kRows * kParts ? kParts : kMaxParts;
  const std::string options = fmt::format("-DPARTS={} -DCHANNELS={}", parts, int(a.per_channel()));
  OpenClDevice& g = gpu(d);
  g.launch(g.kernel("gated_delta.cl", "gated_delta", options), {{size_t((V + kCols - 1) / kCols), size_t(Hv), size_t(B)}, size_t(kCols * parts)}, a.q, a.q.stride[0],
           int(a.q.stride[1]), a.k, a.k.stride[0], int(a.k.stride[1]), a.v, a.v.stride[0], int(a.v.stride[1]), a.a, a.a.stride[0], a.b, a.b.stride[0], a.a_log,
           a.dt_bias, s.pool, s.pool.stride[0], s.offset, s.block_tokens, s.state_in, s.table, int(s.table.stride[0]), s.cu_q, s.kv_len, a.y, int(Hv), int(Hk),
           int(K), int(V));
}
const Kernel<GatedDelta> steps(Dev::kOpenCl, "steps", 10, steps_support, run_steps, "key dimensions of at most 256");

constexpr int64_t kChunk = 64, kMaxKeys = 128;          // of delta_products.cl and delta_states.cl
constexpr int64_t kProductGroup = 160, kStateGroup = 256;
constexpr int64_t kChunkRow = 8;                        // tokens a row, on average, from which chunks pay

bool in_fours(const Tensor& t) {  // of floats, wherever a row or a head starts
  return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.stride[0] % 4 == 0 && (t.rank < 3 || t.stride[1] % 4 == 0);
}
bool chunks_support(const GatedDelta& a, const Device&) {
  const int64_t K = a.k.dim[2], V = a.v.dim[2];
  return a.q.dim[0] >= kChunkRow * a.state.rows() && K <= kMaxKeys && K % 4 == 0 && V % 4 == 0 && in_fours(a.q) && in_fours(a.k) && in_fours(a.v) && in_fours(a.y) &&
         in_fours(a.state.pool) && a.state.offset % 4 == 0;
}

void run_chunks(const GatedDelta& a, Device& d) {
  const StateCache& s = a.state;
  const auto [T, Hk, K, Hv, V, B] = Sizes(a);
  if (T == 0 || B == 0) return;
  OpenClDevice& g = gpu(d);
  // Of each head and token: a row of both matrices of its chunk, four factors, and with a decay for each key dimension those before
  // and after it.
  const int64_t lines = Hv * T, each = a.per_channel() ? lines * K : 0;
  auto* solve = static_cast<float*>(g.scratch(size_t(lines * (2 * kChunk + 4) + 2 * each) * sizeof(float)));
  if (!solve) return;
  float *seen = solve + lines * kChunk, *factors = seen + lines * kChunk;
  float *prefix = each ? factors + lines * 4 : nullptr, *suffix = each ? prefix + each : nullptr;
  const std::string options = fmt::format("-DCHANNELS={}", int(a.per_channel()));
  g.launch(g.kernel("delta_products.cl", "delta_products", options), {{size_t(T / kChunk + B), size_t(Hv), 1}, size_t(kProductGroup)}, a.q, a.q.stride[0], int(a.q.stride[1]),
           a.k, a.k.stride[0], int(a.k.stride[1]), a.a, a.a.stride[0], a.b, a.b.stride[0], a.a_log, a.dt_bias, s.block_tokens, s.table, int(s.table.stride[0]), s.cu_q,
           s.kv_len, int(B), int(T), int(Hv), int(Hk), int(K), solve, seen, factors, prefix, suffix);
  g.launch(g.kernel("delta_states.cl", "delta_states", options), {{size_t((V + kCols - 1) / kCols), size_t(Hv), size_t(B)}, size_t(kStateGroup)}, a.q, a.q.stride[0],
           int(a.q.stride[1]), a.k, a.k.stride[0], int(a.k.stride[1]), a.v, a.v.stride[0], int(a.v.stride[1]), s.pool, s.pool.stride[0], s.offset, s.block_tokens,
           s.state_in, s.table, int(s.table.stride[0]), s.cu_q, s.kv_len, a.y, int(T), int(Hv), int(Hk), int(K), int(V), solve, seen, factors, prefix, suffix);
}
const Kernel<GatedDelta> chunks(Dev::kOpenCl, "chunks", 20, chunks_support, run_chunks, "long rows, with keys and values in fours and key dimensions of at most 128");

}  // namespace
}  // namespace xylem
