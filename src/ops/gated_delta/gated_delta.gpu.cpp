#include <fmt/format.h>

#include "device/opencl/opencl_device.h"
#include "ops/gated_delta/gated_delta.h"

namespace xylem {
namespace {

constexpr int64_t kCols = 16, kRows = 16;  // of gated_delta.cl
constexpr int64_t kParts = 8, kMaxParts = 16;

bool supports(const GatedDelta& a, const Device&) { return a.k.dim[2] <= kRows * kMaxParts; }

void run(const GatedDelta& a, Device& d) {
  const StateCache& s = a.state;
  const int64_t T = a.q.dim[0], Hk = a.k.dim[1], K = a.k.dim[2], Hv = a.v.dim[1], V = a.v.dim[2], B = s.rows(), gates = a.per_channel() ? Hv * K : Hv;
  CHECK(a.q.dim[1] == Hk && a.q.dim[2] == K && Hv % Hk == 0 && a.k.dim[0] == T && a.v.dim[0] == T && a.y.dim[0] == T, T, Hk, Hv, K);
  CHECK(a.q.stride[2] == 1 && a.k.stride[2] == 1 && a.v.stride[2] == 1 && a.y.numel() == T * Hv * V && a.y.stride[0] == Hv * V, V);
  CHECK(a.a.rows() == T && a.a.cols() == gates && a.dt_bias.numel() == gates && a.a_log.numel() == Hv && a.b.rows() == T && a.b.cols() == Hv, gates);
  CHECK(a.a.stride[1] == 1 && a.b.stride[1] == 1 && s.cu_q.numel() == B + 1 && s.state_in.numel() == B && s.table.dim[0] == B && s.pool.dtype == DType::kF32, B);
  if (T == 0 || B == 0) return;
  const int64_t parts = K <= kRows * kParts ? kParts : kMaxParts;
  const std::string options = fmt::format("-DPARTS={} -DCHANNELS={}", parts, int(a.per_channel()));
  OpenClDevice& g = gpu(d);
  g.launch(g.kernel("gated_delta.cl", "gated_delta", options), {{size_t((V + kCols - 1) / kCols), size_t(Hv), size_t(B)}, size_t(kCols * parts)}, a.q, a.q.stride[0],
           int(a.q.stride[1]), a.k, a.k.stride[0], int(a.k.stride[1]), a.v, a.v.stride[0], int(a.v.stride[1]), a.a, a.a.stride[0], a.b, a.b.stride[0], a.a_log,
           a.dt_bias, s.pool, s.pool.stride[0], s.offset, s.block_tokens, s.state_in, s.table, int(s.table.stride[0]), s.cu_q, s.kv_len, a.y, int(Hv), int(Hk),
           int(K), int(V));
}
const Kernel<GatedDelta> k(Dev::kOpenCl, "steps", 10, supports, run);

}  // namespace
}  // namespace xylem
