// The chunked form of GatedDelta (gated_delta.h), part 2: from chunk to chunk with the state, given delta_products.cl's solve,
// seen and decays since the chunk's start and until its end:
//   delta = solve (v - (decayed k) S),   y = (decayed q) S + seen delta,   S = decayed S + (k decayed to the end)^T delta
// A work-group is COLS columns of the state of one head of one row. Of each product a work-item has two columns and two tokens (four
// rows of the state), so that what lies in global memory is read by a few neighbouring lanes of one work-group alone; what passes
// between work-items is in local memory as squares of two rows and two columns. The state stays in registers.
// Compiled with CHANNELS (1: a decay for each key dimension).
#include "shim.clh"
#include "state_cache.clh"
#include "delta_chunks.clh"
#define WG 256
#define COLS 16
#define PAIRS (COLS / 2)
#define MOST 128  // key dimensions

// Two rows times a square of two columns: four numbers x of each row, those of rows k and k + 1 below in s, k + 2 and k + 3 in t.
FN float4 square_mad(float4 x0, float4 x1, float4 s, float4 t, float4 sum) {
  sum = fma((float4)(x0.x, x0.x, x1.x, x1.x), s.xyxy, sum);
  sum = fma((float4)(x0.y, x0.y, x1.y, x1.y), s.zwzw, sum);
  sum = fma((float4)(x0.z, x0.z, x1.z, x1.z), t.xyxy, sum);
  sum = fma((float4)(x0.w, x0.w, x1.w, x1.w), t.zwzw, sum);
  return sum;
}
// Two columns of a row and of the one that lies `stride` further.
FN float4 square_at(const __global float* p, long stride) {
  const float2 a = *(const __global float2*)p, b = *(const __global float2*)(p + stride);
  return (float4)(a.x, a.y, b.x, b.y);
}

KERNEL(WG)
void delta_states(__global const float* q, long q_stride, int q_head, __global const float* k, long k_stride, int k_head, __global const float* v, long v_stride,
                  int v_head, __global float* pool, long pool_stride, long pool_offset, int block_tokens, __global const int* state_in,
                  __global const int* table, int table_stride, __global const int* cu_q, __global const int* kv_len, __global float* y, int tokens,
                  int heads, int key_heads, int K, int V, __global const float4* solve, __global const float4* seen, __global const float4* factors,
                  __global const float4* prefix, __global const float4* suffix) {
  __local float4 state[MOST / 2 * PAIRS], rest[CHUNK / 2 * PAIRS], delta[CHUNK / 2 * PAIRS], added[CHUNK / 2 * PAIRS];  // added: delta decayed
  const int lid = (int)get_local_id(0), pair = lid % PAIRS, team = lid / PAIRS, h = (int)get_group_id(1), b = (int)get_group_id(2), kh = h / (heads / key_heads);
  const int c = (int)get_group_id(0) * COLS + pair * 2, in_c = min(c, V - 2), d0 = team * 4, quads = K / 4;
  const int first = cu_q[b], n = cu_q[b + 1] - first, len = kv_len[b], begin = len - n, from = state_in[b];
  const long at = (long)h * tokens + first;
  pool += pool_offset + (long)h * K * V;
  q += first * q_stride + (long)kh * q_head;
  k += first * k_stride + (long)kh * k_head;
  v += first * v_stride + (long)h * v_head + in_c;
  y += ((long)first * heads + h) * V + in_c;

  float4 s01 = (float4)(0.0f), s23 = s01;  // rows d0 to d0 + 3
  if (n > 0 && from >= 0 && d0 < K && c < V) {
    const __global float* old = pool + (long)from * pool_stride + (long)d0 * V + in_c;
    s01 = square_at(old, V);
    s23 = square_at(old + 2 * V, V);
  }
  for (int start = 0, stop; start < n; start = stop) {
    const int piece = start / CHUNK * CHUNK;
    int to = -1;
    stop = min(n, piece + CHUNK);
    for (int p = state_next(begin + start, len, block_tokens); p <= begin + stop && to < 0; p = state_next(p, len, block_tokens)) {
      to = state_kept(table, table_stride, b, p, len, block_tokens);
      if (to >= 0) stop = p - begin;
      if (p == len) break;
    }
    // This work-item's tokens; one that the part does not hold is computed as the other, and dropped.
    const int i0 = piece + 2 * team, i1 = i0 + 1, has0 = i0 >= start && i0 < stop, has1 = i1 >= start && i1 < stop, any = has0 || has1;
    const int r0 = has0 ? i0 : any ? i1 : start, r1 = has1 ? i1 : any ? i0 : start;
    const int4 has = (int4)(-has0, -has0, -has1, -has1);
    state[2 * team * PAIRS + pair] = s01;
    state[(2 * team + 1) * PAIRS + pair] = s23;
    const float4 f0 = factors[at + r0], f1 = factors[at + r1];
    const float4 values = square_at(v + r0 * v_stride, (r1 - r0) * v_stride);
    wg_barrier();
    float4 key_sees = (float4)(0.0f), query_sees = key_sees;
    if (any) {
      const __global float4 *k0 = (const __global float4*)(k + r0 * k_stride), *k1 = (const __global float4*)(k + r1 * k_stride);
      const __global float4 *q0 = (const __global float4*)(q + r0 * q_stride), *q1 = (const __global float4*)(q + r1 * q_stride);
#if CHANNELS
      const __global float4 *e0 = prefix + (at + r0) * quads, *e1 = prefix + (at + r1) * quads;
      float4 next_e0 = e0[0], next_e1 = e1[0];
#endif
      float4 next_k0 = k0[0], next_k1 = k1[0], next_q0 = q0[0], next_q1 = q1[0];
      for (int d = 0; d < quads; ++d) {
        float4 a0 = next_k0, a1 = next_k1, b0 = next_q0, b1 = next_q1;
        const int next = min(d + 1, quads - 1);
        next_k0 = k0[next], next_k1 = k1[next], next_q0 = q0[next], next_q1 = q1[next];
#if CHANNELS
        a0 *= next_e0, b0 *= next_e0, a1 *= next_e1, b1 *= next_e1;
        next_e0 = e0[next], next_e1 = e1[next];
#endif
        const float4 s = state[2 * d * PAIRS + pair], t = state[(2 * d + 1) * PAIRS + pair];
        key_sees = square_mad(a0, a1, s, t, key_sees);
        query_sees = square_mad(b0, b1, s, t, query_sees);
      }
    }
    const float4 left = values - (float4)(f0.x, f0.x, f1.x, f1.x) * key_sees;
    rest[team * PAIRS + pair] = select((float4)(0.0f), left, has);
    wg_barrier();
    const int j0 = (start - piece) / 4, j1 = any ? team / 2 + 1 : 0;  // fours of tokens that count
    float4 x = (float4)(0.0f);
    for (int j = j0; j < j1; ++j)
      x = square_mad(solve[(at + r0) * (CHUNK / 4) + j], solve[(at + r1) * (CHUNK / 4) + j], rest[2 * j * PAIRS + pair], rest[(2 * j + 1) * PAIRS + pair], x);
    x = select((float4)(0.0f), x, has);
    delta[team * PAIRS + pair] = x;
    added[team * PAIRS + pair] = x * (float4)(f0.z, f0.z, f1.z, f1.z);
    wg_barrier();
    float4 out = (float4)(f0.y, f0.y, f1.y, f1.y) * query_sees;
    for (int j = j0; j < j1; ++j)
      out = square_mad(seen[(at + r0) * (CHUNK / 4) + j], seen[(at + r1) * (CHUNK / 4) + j], delta[2 * j * PAIRS + pair], delta[(2 * j + 1) * PAIRS + pair], out);
    if (has0 && c < V) *(__global float2*)(y + (long)i0 * heads * V) = out.xy;
    if (has1 && c < V) *(__global float2*)(y + (long)i1 * heads * V) = out.zw;

    if (d0 < K) {
#if CHANNELS
      const float4 total = prefix[(at + stop - 1) * quads + team];
#else
      const float4 total = factors[at + stop - 1].wwww;
#endif
      s01 *= total.xxyy;
      s23 *= total.zzww;
      for (int i = piece + (start - piece) / 2 * 2; i < stop; i += 2) {
        const int t0 = i, t1 = min(i + 1, n - 1);
        float4 a0 = ((const __global float4*)(k + t0 * k_stride))[team], a1 = ((const __global float4*)(k + t1 * k_stride))[team];
#if CHANNELS
        a0 *= suffix[(at + t0) * quads + team];
        a1 *= suffix[(at + t1) * quads + team];
#endif
        const float4 m = added[(i - piece) / 2 * PAIRS + pair];
        s01 = fma(a1.xxyy, m.zwzw, fma(a0.xxyy, m.xyxy, s01));
        s23 = fma(a1.zzww, m.zwzw, fma(a0.zzww, m.xyxy, s23));
      }
      if (to >= 0 && c < V) {
        __global float* now = pool + (long)to * pool_stride + (long)d0 * V + in_c;
        *(__global float2*)now = s01.xy;
        *(__global float2*)(now + V) = s01.zw;
        *(__global float2*)(now + 2 * V) = s23.xy;
        *(__global float2*)(now + 3 * V) = s23.zw;
      }
    }
  }
}
