#pragma once
#include "ops/causal_conv/causal_conv.h"
#include "ops/gated_delta/gated_delta.h"
namespace xylem {
// CausalConv and GatedDelta of its outputs, for steps in which every row has one token: what decodes.
struct DeltaStep {
  static constexpr const char* kName = "delta_step";
  Tensor qkv;         // [B, C] f32, strided rows: queries [Hk][K], keys [Hk][K] and values [Hv][V] before the convolution
  Tensor conv;        // [C, taps] f32
  Tensor a;           // [B, Hv] or [B, Hv * K] f32, strided rows
  Tensor b;           // [B, Hv] f32, strided rows
  Tensor a_log;       // [Hv] f32
  Tensor dt_bias;     // [Hv] or [Hv * K] f32
  StateCache state;   // of the convolution, token b being row b's only one
  int64_t rule_at = 0;  // floats from there to the state of the rule, in the same blocks
  int64_t key_heads = 1;
  Tensor y;           // [B, Hv, V] f32, contiguous
  int64_t key_dim() const { return (qkv.cols() - y.dim[1] * y.dim[2]) / (2 * key_heads); }
  bool per_channel() const { return a.cols() != y.dim[1]; }
  // The two ops; x: [B, C], contiguous, holds what the one gives to the other.
  CausalConv convolution(Tensor x) const { return {qkv, conv, state, x}; }
  GatedDelta rule(Tensor x) const {
    const int64_t K = key_dim();
    auto heads = [&](int64_t from, int64_t n, int64_t dim) {
      Tensor t = x;
      t.data = x.as() + from, t.rank = 3, t.dim = {x.dim[0], n, dim, 1}, t.stride = {x.stride[0], dim, 1, 1};
      return t;
    };
    StateCache s = state;
    s.offset += rule_at;
    return {heads(0, key_heads, K), heads(key_heads * K, key_heads, K), heads(2 * key_heads * K, y.dim[1], y.dim[2]), a, b, a_log, dt_bias, s, y};
  }
  XYLEM_FIELDS(in(qkv), in(conv), in(a), in(b), in(a_log), in(dt_bias), in(state.state_in), in(state.table), in(state.cu_q), in(state.kv_len),
               inout(state.pool), out(y))
};
}  // namespace xylem
