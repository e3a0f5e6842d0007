// GatedDelta (gated_delta.h), token by token: a work-group is COLS columns of the state of one head of one row, from its first
// token to its last; the state stays in registers. Work-item (part, col) holds rows [part * ROWS, (part + 1) * ROWS) of a column.
// Of each token, y = S^T q = (decayed S)^T q + (k . q) delta, so that key and query look at the state together.
// Keys and queries stay as they are in local memory; what makes them unit vectors is applied to sums.
// Compiled with PARTS (a multiple of 8; of K / ROWS at least) and CHANNELS (1: a decay for each key dimension).
#include "shim.clh"
#include "state_cache.clh"
#include "delta_gates.clh"
#define COLS 16
#define ROWS 16
#define WG (COLS * PARTS)
#define TILE 8                 // tokens that are loaded together
#define LANES (WG / TILE)      // work-items that load one token: COLS or more
#define KEYS (ROWS * PARTS)    // K, padded by zeros

KERNEL(WG)
void gated_delta(__global const float* q, long q_stride, int q_head, __global const float* k, long k_stride, int k_head, __global const float* v, long v_stride,
                 int v_head, __global const float* gates, long gate_stride, __global const float* betas, long beta_stride, __global const float* a_log,
                 __global const float* dt_bias, __global float* pool, long pool_stride, long pool_offset, int block_tokens, __global const int* state_in,
                 __global const int* table, int table_stride, __global const int* cu_q, __global const int* kv_len, __global float* y, int heads,
                 int key_heads, int K, int V) {
  __local float4 kl[TILE * KEYS / 4], ql[TILE * KEYS / 4];
#if CHANNELS
  __local float4 el[TILE * KEYS / 4];
#endif
  __local float vl[TILE * COLS], sums[3 * WG], parts[2][2 * WG], k_unit[TILE], q_unit[TILE], kq[TILE], beta[TILE], decay[TILE];
  const int lid = (int)get_local_id(0), h = (int)get_group_id(1), b = (int)get_group_id(2), kh = h / (heads / key_heads);
  const int part = lid / COLS, col = lid % COLS, c = (int)get_group_id(0) * COLS + col;
  const int tok = lid / LANES, lane = lid % LANES;  // as a loader
  const int first = cu_q[b], n = cu_q[b + 1] - first, len = kv_len[b], begin = len - n, from = state_in[b];
  const float rate = -exp(a_log[h]);
  pool += pool_offset + (long)h * K * V;
  q += (long)kh * q_head;
  k += (long)kh * k_head;
  v += (long)h * v_head;

  float4 state[ROWS / 4];
  {
    __global const float* old = pool + (long)max(from, 0) * pool_stride;
    float s[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) {
      const int d = part * ROWS + r;
      s[r] = n > 0 && from >= 0 && c < V && d < K ? old[d * V + c] : 0.0f;  // nobody else's: states change in place
    }
    UNROLL for (int r = 0; r < ROWS / 4; ++r) state[r] = (float4)(s[4 * r], s[4 * r + 1], s[4 * r + 2], s[4 * r + 3]);
  }
  int kept = state_next(begin, len, block_tokens);  // the next position to look whether its state is kept
  for (int i0 = 0; i0 < n; i0 += TILE) {
    {
      const long t = first + min(i0 + tok, n - 1);
      float kk = 0.0f, qq = 0.0f, both = 0.0f;
      for (int d = lane; d < KEYS; d += LANES) {
        const int in = min(d, K - 1);
        const float x = d < K ? k[t * k_stride + in] : 0.0f, z = d < K ? q[t * q_stride + in] : 0.0f;
        ((__local float*)kl)[tok * KEYS + d] = x;
        ((__local float*)ql)[tok * KEYS + d] = z;
        kk = fma(x, x, kk);
        qq = fma(z, z, qq);
        both = fma(x, z, both);
#if CHANNELS
        ((__local float*)el)[tok * KEYS + d] = decay_of(gates[t * gate_stride + (long)h * K + in], dt_bias[h * K + in], rate);
#endif
      }
      sums[lid] = kk;
      sums[WG + lid] = qq;
      sums[2 * WG + lid] = both;
      if (lane < COLS) vl[tok * COLS + lane] = v[t * v_stride + min((int)get_group_id(0) * COLS + lane, V - 1)];
      wg_barrier();
      if (lane == 0) {
        kk = qq = both = 0.0f;
        for (int i = 0; i < LANES; ++i) {
          kk += sums[lid + i];
          qq += sums[WG + lid + i];
          both += sums[2 * WG + lid + i];
        }
        k_unit[tok] = 1.0f / sqrt(kk + 1e-6f);
        q_unit[tok] = 1.0f / (sqrt(qq + 1e-6f) * sqrt((float)K));
        kq[tok] = both * k_unit[tok] * q_unit[tok];
        beta[tok] = 1.0f / (1.0f + exp(-betas[t * beta_stride + h]));
#if !CHANNELS
        decay[tok] = decay_of(gates[t * gate_stride + h], dt_bias[h], rate);
#endif
      }
      wg_barrier();
    }
    for (int j = 0; j < min(TILE, n - i0); ++j) {
      __local const float4 *kj = kl + (j * KEYS + part * ROWS) / 4, *qj = ql + (j * KEYS + part * ROWS) / 4;
#if CHANNELS
      __local const float4* ej = el + (j * KEYS + part * ROWS) / 4;
#endif
      float4 seen4 = (float4)(0.0f), out4 = (float4)(0.0f);
      UNROLL for (int r = 0; r < ROWS / 4; ++r) {
#if CHANNELS
        state[r] *= ej[r];
#else
        state[r] *= decay[j];
#endif
        seen4 = fma(state[r], kj[r], seen4);
        out4 = fma(state[r], qj[r], out4);
      }
      // Two buffers in turn: nobody writes one before all have read it.
      __local float* p = parts[j & 1];
      p[lid] = (seen4.x + seen4.y) + (seen4.z + seen4.w);
      p[WG + lid] = (out4.x + out4.y) + (out4.z + out4.w);
      wg_barrier();
      float seen = 0.0f, out = 0.0f;
      UNROLL for (int i = 0; i < PARTS; ++i) {
        seen += p[i * COLS + col];
        out += p[WG + i * COLS + col];
      }
      const float delta = beta[j] * (vl[j * COLS + col] - k_unit[j] * seen), add = k_unit[j] * delta;
      UNROLL for (int r = 0; r < ROWS / 4; ++r) state[r] = fma(kj[r], (float4)(add), state[r]);
      if (part == 0 && c < V) y[((long)(first + i0 + j) * heads + h) * V + c] = fma(kq[j], delta, q_unit[j] * out);

      if (begin + i0 + j + 1 == kept) {
        const int to = state_kept(table, table_stride, b, kept, len, block_tokens);
        kept = state_next(kept, len, block_tokens);
        __global float* now = pool + (long)max(to, 0) * pool_stride;
        UNROLL for (int r = 0; r < ROWS; ++r) {
          const int d = part * ROWS + r;
          const float4 s = state[r / 4];
          if (to >= 0 && c < V && d < K) now[d * V + c] = r % 4 == 0 ? s.x : r % 4 == 1 ? s.y : r % 4 == 2 ? s.z : s.w;
        }
      }
    }
    wg_barrier();  // before the next tokens take the place of these
  }
}
