#pragma once
#include "ops/state_cache.h"
namespace xylem {
// A short convolution over time in each channel, then SiLU (specs/qwen3_5.md 5):
//   y[t, c] = silu( sum over j < taps of w[c, j] * x[t - taps + 1 + j, c] ),
// where inputs before the row's first token come from the state: the last `taps` inputs, [taps][C] floats, that of position p
// of the sequence in row p % taps, zeros for positions before its start. So one more token replaces the one input that it
// does not need: a step in place writes nothing that another work-group still reads.
inline int64_t conv_slot(int64_t position, int64_t taps) { return (position % taps + taps) % taps; }  // position >= -taps

struct CausalConv {
  static constexpr const char* kName = "causal_conv";
  Tensor x;          // [T, C] f32, strided rows
  Tensor w;          // [C, taps] f32
  StateCache state;
  Tensor y;          // [T, C] f32
  XYLEM_FIELDS(in(x), in(w), in(state.state_in), in(state.table), in(state.cu_q), in(state.kv_len), inout(state.pool), out(y))
};
}  // namespace xylem
