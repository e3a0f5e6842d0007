// RmsNorm (rms_norm.h): a work-group a row.
//   EACH, ALIGNED  of row_quads.clh: the row lies in registers; EACH 0: it is too long for that
#include "phase.clh"
#if EACH
#include "row_quads.clh"
#else
#include "group_sum.clh"
#define WG 256
#endif

typedef struct {
  ulong x; int4 xs; ulong w; int has_w; ulong y; int4 ys; int n; float eps, w_offset;
} rms_norm_args;

FN void rms_norm_body(PHASE_ARGS rms_norm_args* a, Groups g, __local float* part, Wait wait) {
  const int n = a->n;
  const __global float* weights = (const __global float*)a->w;
#if EACH
  // Weights are there before the row is, as far as registers allow.
#define W_EARLY (EACH <= 4)
#define WEIGHT(i) load_quad(weights, AT(i), n_w)
  const int has_w = a->has_w, n_w = has_w ? n : 0;
  float4 w[EACH];
  if (W_EARLY && g.first < g.count) EACH_QUAD w[i] = WEIGHT(i);
  const float offset = a->w_offset;
#endif
  phase_wait(wait);
  for (int at = g.first; at < g.count; at += g.step) {
    const __global float* x = ROW((const __global float*)a->x, a->xs, at);
    __global float* y = ROW((__global float*)a->y, a->ys, at);
#if EACH
    float4 v[EACH];
    load_row(x, n, v);
    const float f = row_factor(v, n, a->eps, part);
    EACH_QUAD store_quad(y, AT(i), n, v[i] * f * (has_w ? (W_EARLY ? w[i] : WEIGHT(i)) + offset : (float4)(1.0f)));
#else
    float sum = 0.0f;
    for (int i = (int)get_local_id(0); i < n; i += WG) sum = fma(x[i], x[i], sum);
    const float f = 1.0f / sqrt(group_sum(part, sum) / (float)n + a->eps);
    for (int i = (int)get_local_id(0); i < n; i += WG) y[i] = a->has_w ? x[i] * f * (weights[i] + a->w_offset) : x[i] * f;
#endif
  }
}
RANGE_KERNEL(rms_norm, GROUP_SUM_FLOATS)
