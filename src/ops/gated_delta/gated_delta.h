#pragma once
#include "ops/state_cache.h"
namespace xylem {
// The gated delta rule: Gated DeltaNet (specs/qwen3_5.md 5) when a has one number for a head, Kimi Delta Attention
// (specs/kimi_linear.md 4) when it has one for each key dimension d. For value head h, which reads key head h / (Hv / Hk):
//   k = k / sqrt(sum k^2 + 1e-6), q likewise and times K^-1/2;   beta = sigmoid(b[h])
//   g[d] = -exp(a_log[h]) * softplus(a[h (, d)] + dt_bias[h (, d)])
//   S[d, :] = exp(g[d]) * S[d, :];   m = S^T k;   S = S + k (beta * (v - m))^T;   y = S^T q
// The state S is [Hv][K][V] floats. Everything is float32.
struct GatedDelta {
  static constexpr const char* kName = "gated_delta";
  Tensor q, k;      // [T, Hk, K] f32, strided
  Tensor v;         // [T, Hv, V] f32, strided
  Tensor a;         // [T, Hv] or [T, Hv * K] f32, strided rows
  Tensor b;         // [T, Hv] f32, strided rows
  Tensor a_log;     // [Hv] f32
  Tensor dt_bias;   // [Hv] or [Hv * K] f32
  StateCache state;
  Tensor y;         // [T, Hv, V] f32, contiguous
  bool per_channel() const { return a.cols() != v.dim[1]; }
  XYLEM_FIELDS(in(q), in(k), in(v), in(a), in(b), in(a_log), in(dt_bias), in(state.state_in), in(state.table), in(state.cu_q), in(state.kv_len),
               inout(state.pool), out(y))
};
}  // namespace xylem
