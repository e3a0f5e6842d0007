// CausalConv (causal_conv.h): a work-item is one channel of one row, or of a part of its tokens. Compiled with TAPS.
#include "shim.clh"
#include "state_cache.clh"
#define WG 128
#define PAST (TAPS - 1)
#define AHEAD 4  // inputs that are loaded together

KERNEL(WG)
void causal_conv(__global const float* x, int x_stride, __global const float* w, int w_stride, __global float* pool, long pool_stride, long pool_offset,
                 int block_tokens, __global const int* state_in, __global const int* table, int table_stride, __global const int* cu_q,
                 __global const int* kv_len, __global float* y, int y_stride, int channels, int part_tokens) {
  const int c = (int)get_global_id(0), b = (int)get_group_id(2), row = cu_q[b], n = cu_q[b + 1] - row, first = (int)get_group_id(1) * part_tokens;
  if (c >= channels || first >= n) return;  // nobody waits here for anybody
  x += (long)row * x_stride + c;
  y += (long)row * y_stride + c;
  pool += pool_offset + c;
  float tap[TAPS], in[TAPS];  // in: what the taps see, oldest first
  UNROLL for (int j = 0; j < TAPS; ++j) tap[j] = w[(long)c * w_stride + j];
  if (first > 0) {  // parts have at least PAST tokens
    UNROLL for (int j = 0; j < PAST; ++j) in[j] = x[(long)(first - PAST + j) * x_stride];
  } else {
    const int from = state_in[b], len = kv_len[b];
    UNROLL for (int j = 0; j < PAST; ++j) in[j] = from < 0 ? 0.0f : pool[(long)from * pool_stride + (long)((len - n + 1 + j) % TAPS) * channels];
    // Whoever read the old state writes all new ones: one of them may lie in its place.
    for (int p = len - n; p < len;) {
      p = state_next(p, len, block_tokens);
      const int to = state_kept(table, table_stride, b, p, len, block_tokens), count = p - (len - n);
      if (to < 0) continue;
      UNROLL for (int j = 0; j < TAPS; ++j) {  // input `count - TAPS + j` of the row; the one before in[0] is never wanted
        float v = x[(long)max(count - TAPS + j, 0) * x_stride];
        UNROLL for (int m = 0; m < PAST; ++m) v = m + 1 == count + j ? in[m] : v;
        pool[(long)to * pool_stride + (long)((p + j) % TAPS) * channels] = v;
      }
    }
  }
  const int end = min(first + part_tokens, n);
  for (int i = first; i < end; i += AHEAD) {
    float next[AHEAD];
    UNROLL for (int a = 0; a < AHEAD; ++a) next[a] = x[(long)min(i + a, n - 1) * x_stride];
    UNROLL for (int a = 0; a < AHEAD; ++a) {
      in[PAST] = next[a];
      float sum = 0.0f;
      UNROLL for (int j = 0; j < TAPS; ++j) sum = fma(tap[j], in[j], sum);
      if (i + a < end) y[(long)(i + a) * y_stride] = sum / (1.0f + exp(-sum));
      UNROLL for (int j = 0; j < PAST; ++j) in[j] = in[j + 1];
    }
  }
}
