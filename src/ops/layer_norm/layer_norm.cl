// LayerNorm (layer_norm.h): a work-group a row. The mean first; then what its rounding left, with the squares around it.
//   EACH, ALIGNED  of row_quads.clh: the row lies in registers; EACH 0: it is too long for that
#include "phase.clh"
#if EACH
#include "row_quads.clh"
// Numbers minus m; zeros past the end of the row.
#if ALIGNED
FN float4 centred(float4 v, int at, int n, float m) { return at < n ? v - m : (float4)(0.0f); }
#else
FN float4 centred(float4 v, int at, int n, float m) {
  return (float4)(at < n ? v.x - m : 0.0f, at + WG < n ? v.y - m : 0.0f, at + 2 * WG < n ? v.z - m : 0.0f, at + 3 * WG < n ? v.w - m : 0.0f);
}
#endif
#else
#include "group_sum.clh"
#define WG 256
#endif

typedef struct {
  ulong x; int4 xs; ulong w, bias, y; int4 ys; int n; float eps;
} layer_norm_args;

FN void layer_norm_body(PHASE_ARGS layer_norm_args* a, Groups g, __local float* part, Wait wait) {
  const int n = a->n;
  const float count = (float)n;
  const __global float *weights = (const __global float*)a->w, *bias = (const __global float*)a->bias;
#if EACH
  // Weights are there before the row is, as far as registers allow.
#define W_EARLY (EACH <= 2)
  float4 w[EACH], b[EACH];
  if (W_EARLY && g.first < g.count) EACH_QUAD w[i] = load_quad(weights, AT(i), n), b[i] = load_quad(bias, AT(i), n);
#endif
  phase_wait(wait);
  for (int at = g.first; at < g.count; at += g.step) {
    const __global float* x = ROW((const __global float*)a->x, a->xs, at);
    __global float* y = ROW((__global float*)a->y, a->ys, at);
    float sum = 0.0f, squares = 0.0f;
#if EACH
    float4 v[EACH];
    load_row(x, n, v);
    EACH_QUAD sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
    const float middle = group_sum(part, sum) / count;
    sum = 0.0f;
    EACH_QUAD {
      v[i] = centred(v[i], AT(i), n, middle);
      sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
      squares += dot(v[i], v[i]);
    }
#else
    for (int i = (int)get_local_id(0); i < n; i += WG) sum += x[i];
    const float middle = group_sum(part, sum) / count;
    sum = 0.0f;
    for (int i = (int)get_local_id(0); i < n; i += WG) {
      const float d = x[i] - middle;
      sum += d, squares = fma(d, d, squares);
    }
#endif
    const float shift = group_sum(part, sum) / count;
    const float f = 1.0f / sqrt(fmax(group_sum(part, squares) / count - shift * shift, 0.0f) + a->eps);
#if EACH
    EACH_QUAD store_quad(y, AT(i), n, fma((v[i] - shift) * f, W_EARLY ? w[i] : load_quad(weights, AT(i), n), W_EARLY ? b[i] : load_quad(bias, AT(i), n)));
#else
    for (int i = (int)get_local_id(0); i < n; i += WG) y[i] = fma(((x[i] - middle) - shift) * f, weights[i], bias[i]);
#endif
  }
}
RANGE_KERNEL(layer_norm, GROUP_SUM_FLOATS)
