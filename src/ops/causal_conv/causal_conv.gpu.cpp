#include <algorithm>

#include "device/opencl/opencl_device.h"
#include "ops/causal_conv/causal_conv.h"

namespace xylem {
namespace {

constexpr size_t kGroup = 128;       // WG of causal_conv.cl
constexpr int64_t kMaxTaps = 16;     // in registers
constexpr int64_t kPartTokens = 64;  // of a row that a work-item computes, at least: more than the taps see
constexpr int64_t kGroups = 4096;    // parts beyond a row's end cost a group each: no more of them than a device needs

bool supports(const CausalConv& a, const Device&) { return a.w.cols() <= kMaxTaps; }

void run(const CausalConv& a, Device& d) {
  const StateCache& s = a.state;
  const int64_t T = a.x.rows(), C = a.x.cols(), B = s.rows(), blocks = (C + int64_t(kGroup) - 1) / int64_t(kGroup);
  CHECK(a.w.rows() == C && a.y.rows() == T && a.y.cols() == C && a.x.stride[1] == 1 && a.y.stride[1] == 1 && a.w.stride[1] == 1, T, C);
  CHECK(s.cu_q.numel() == B + 1 && s.state_in.numel() == B && s.table.dim[0] == B && s.pool.dtype == DType::kF32, B);
  if (T == 0 || B == 0) return;
  const int64_t parts = std::clamp<int64_t>(kGroups / (B * blocks), 1, (T + kPartTokens - 1) / kPartTokens), tokens = std::max((T + parts - 1) / parts, kPartTokens);
  OpenClDevice& g = gpu(d);
  g.launch(g.kernel("causal_conv.cl", "causal_conv", "-DTAPS=" + std::to_string(a.w.cols())), {{size_t(blocks), size_t(parts), size_t(B)}, kGroup}, a.x,
           int(a.x.stride[0]), a.w, int(a.w.stride[0]), s.pool, s.pool.stride[0], s.offset, s.block_tokens, s.state_in, s.table, int(s.table.stride[0]), s.cu_q,
           s.kv_len, a.y, int(a.y.stride[0]), int(C), int(tokens));
}
const Kernel<CausalConv> k(Dev::kOpenCl, "channels", 10, supports, run, "at most 16 taps");

}  // namespace
}  // namespace xylem
