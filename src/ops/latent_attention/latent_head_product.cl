// y[t, h, :] = w[h] x[t, h, :] for packed matrices [heads, N, K] of one type, W_TYPE: 0 f32, 1 bf16, 2 f16. A work-group has a
// head, TOKENS tokens and some panels of 16 outputs; work-item (part, row) adds up every PARTS-th pair of inputs of one output.
// KMAX: the largest K that fits into local memory.
#include "shim.clh"
#define TOKENS 8
#define PARTS 8
#define AHEAD 4  // pairs of weights that are loaded together

#if W_TYPE == 0
typedef float weight;
#else
typedef uint weight;  // two neighbouring inputs
#endif

// Inputs 2 i and 2 i + 1 of a row of a panel.
FN float2 weight_pair(__global const weight* w, int i, int row, int K) {
#if W_TYPE == 0
  return (float2)(w[2 * i * 16 + row], w[min(2 * i + 1, K - 1) * 16 + row]);
#elif W_TYPE == 1
  const uint v = w[i * 16 + row];
  return (float2)(bf_lo(v), bf_hi(v));
#else
  return vload_half2(i * 16 + row, (__global const half*)w);
#endif
}

// tail: inputs after the K ones that are copied behind the N outputs.
KERNEL(128)
void latent_head_product(__global const float* x, long x_token, int x_head, __global const weight* w, __global float* y, long y_token, int y_head, int tokens,
                         int K, int N, int group_panels, int tail) {
  __local float8 xl[KMAX];  // [input][token]
  __local float sums[PARTS * TOKENS * 16];
  const int lid = (int)get_local_id(0), h = (int)get_group_id(1), t0 = (int)get_group_id(2) * TOKENS, pairs = (K + 1) / 2, row = lid % 16, part = lid / 16;
  const int panels = (N + 15) / 16, begin = (int)get_group_id(0) * group_panels, end = min(begin + group_panels, panels);
  x += (long)h * x_head;
  y += (long)h * y_head;
  for (int t = 0; t < TOKENS; ++t) {
    __global const float* from = x + min(t0 + t, tokens - 1) * x_token;
    for (int i = lid; i < 2 * pairs; i += 128) ((__local float*)xl)[i * TOKENS + t] = i < K ? from[min(i, K - 1)] : 0.0f;
    if (begin == 0 && t0 + t < tokens)
      for (int i = lid; i < tail; i += 128) y[(t0 + t) * y_token + N + i] = from[K + i];
  }
  wg_barrier();
#if W_TYPE == 0
  const long panel = (long)K * 16;
#else
  const long panel = (long)pairs * 16;
#endif
  for (int p = begin; p < end; ++p) {
    __global const weight* wp = w + ((long)h * panels + p) * panel;
    float8 sum = (float8)(0.0f);
    for (int i = part; i < pairs; i += AHEAD * PARTS) {
      float2 v[AHEAD];
      UNROLL for (int a = 0; a < AHEAD; ++a) {
        const int at = i + a * PARTS;
        v[a] = weight_pair(wp, min(at, pairs - 1), row, K);
        if (at >= pairs) v[a] = (float2)(0.0f);
      }
      UNROLL for (int a = 0; a < AHEAD; ++a) {
        const int at = min(i + a * PARTS, pairs - 1);
        sum = fma((float8)(v[a].x), xl[2 * at], sum);
        sum = fma((float8)(v[a].y), xl[2 * at + 1], sum);
      }
    }
    __local float* s = sums + part * TOKENS * 16 + row;
    s[0] = sum.s0, s[16] = sum.s1, s[32] = sum.s2, s[48] = sum.s3, s[64] = sum.s4, s[80] = sum.s5, s[96] = sum.s6, s[112] = sum.s7;
    wg_barrier();
    const int t = t0 + part, n = p * 16 + row;  // this work-item's output: TOKENS is PARTS
    float all = 0.0f;
    UNROLL for (int i = 0; i < PARTS; ++i) all += sums[i * TOKENS * 16 + lid];
    if (t < tokens && n < N) y[t * y_token + n] = all;
    wg_barrier();
  }
}
