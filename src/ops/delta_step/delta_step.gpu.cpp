#include <fmt/format.h>

#include "device/opencl/opencl_device.h"
#include "ops/delta_step/delta_step.h"

namespace xylem {
namespace {

constexpr int64_t kGroup = 256, kMaxRows = 8, kMaxTaps = 4;  // of delta_step.cl; more rows or taps do not fit in registers

int64_t rows_of(int64_t K, int64_t cols) { return (K + kGroup * 4 / cols - 1) / (kGroup * 4 / cols); }  // of a work-item

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

bool supports(const DeltaStep& a, const Device&) {
  const StateCache& s = a.state;
  return a.y.dim[2] % 4 == 0 && rows_of(a.key_dim(), 32) <= kMaxRows && a.conv.cols() <= kMaxTaps && aligned(s.pool.data) && aligned(a.y.data) && s.pool.stride[0] % 4 == 0 &&
         (s.offset + a.rule_at) % 4 == 0;
}

void run(const DeltaStep& a, Device& d) {
  const StateCache& s = a.state;
  const int64_t B = s.rows(), Hk = a.key_heads, K = a.key_dim(), Hv = a.y.dim[1], V = a.y.dim[2], C = a.qkv.cols(), gates = a.per_channel() ? Hv * K : Hv;
  CHECK(a.qkv.rows() == B && C == 2 * Hk * K + Hv * V && Hv % Hk == 0 && a.conv.rows() == C && a.y.dim[0] == B && a.y.stride[0] == Hv * V && a.y.stride[1] == V, B, C, K);
  CHECK(a.qkv.stride[1] == 1 && a.conv.stride[1] == 1 && a.a.stride[1] == 1 && a.b.stride[1] == 1, C);
  CHECK(a.a.rows() == B && a.a.cols() == gates && a.dt_bias.numel() == gates && a.a_log.numel() == Hv && a.b.rows() == B && a.b.cols() == Hv, gates);
  CHECK(s.state_in.numel() == B && s.table.dim[0] == B && s.pool.dtype == DType::kF32, B);
  OpenClDevice& g = gpu(d);
  const bool many = B * Hv * ((V + 63) / 64) >= 2 * g.info().compute_units;
  const int64_t cols = !many ? 16 : rows_of(K, 64) <= kMaxRows ? 64 : 32;
  const std::string options = fmt::format("-DCOLS={} -DROWS={} -DTAPS={} -DCHANNELS={}", cols, rows_of(K, cols), a.conv.cols(), int(a.per_channel()));
  g.launch(g.kernel("delta_step.cl", "delta_step", options), {{size_t((V + cols - 1) / cols), size_t(Hv), size_t(B)}, size_t(kGroup)}, a.qkv, a.qkv.stride[0], a.conv,
           int(a.conv.stride[0]), a.a, a.a.stride[0], a.b, a.b.stride[0], a.a_log, a.dt_bias, s.pool, s.pool.stride[0], s.offset, a.rule_at, s.block_tokens, s.state_in,
           s.table, int(s.table.stride[0]), s.kv_len, a.y, int(Hv), int(Hk), int(K), int(V));
}
const Kernel<DeltaStep> k(Dev::kOpenCl, "columns", 10, supports, run, "values in fours, at most 4 taps and key dimensions of at most 256");

// The kernels of the two ops, for the shapes that the one above does not take.
void run_two(const DeltaStep& a, Device& d) {
  const Tensor x = make_tensor(gpu(d).scratch(size_t(a.qkv.numel()) * sizeof(float)), DType::kF32, {a.qkv.rows(), a.qkv.cols()});
  if (!x) return;
  const CausalConv conv = a.convolution(x);
  const GatedDelta rule = a.rule(x);
  select_kernel(conv, d).run(conv, d);
  select_kernel(rule, d).run(rule, d);
}
bool two_support(const DeltaStep& a, const Device& d) {
  const Tensor x = make_tensor(nullptr, DType::kF32, {a.qkv.rows(), a.qkv.cols()});
  return find_kernel(a.convolution(x), d) && find_kernel(a.rule(x), d);
}
const Kernel<DeltaStep> two(Dev::kOpenCl, "two_launches", 5, two_support, run_two, "at most 16 taps and key dimensions of at most 256");

}  // namespace
}  // namespace xylem
