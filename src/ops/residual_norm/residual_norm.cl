// ResidualNorm (residual_norm.h): a work-group a row, which lies in registers from the first pass to the last.
//   EACH     1024ths of a row, rounded up: groups of four numbers that a work-item has
//   ALIGNED  rows and weights are, to 16 bytes
//   X_W, Z, Z_W, S_W, FROM, Y  which parts there are; Y: any output. Barriers in branches are what compilers for CPUs trip over.
#include "phase.clh"
#include "row_quads.clh"
// What is loaded before the sums that it waits for, as far as registers allow.
#define R_EARLY (EACH <= (Z ? 4 : 8))
#define W_EARLY (EACH <= (Z ? 2 : 4))

typedef struct {
  ulong x, z, r, scale, x_w, z_w, s_w, y0, y1, y2, y_w0, y_w1, y_w2;  // r + stride * row, ...
  int x_stride, z_stride, r_stride, y_stride0, y_stride1, y_stride2;
  int has_scale, outputs, n;
  float eps, w_offset;
  ulong from;
  int from_stride;
} residual_norm_args;

// The norm of v in place; early: its weights, if they are in registers. Barriers.
FN void norm_row(float4* v, const float4* early, int is_early, ulong weights, PHASE_ARGS residual_norm_args* a, __local float* part) {
  const float f = row_factor(v, a->n, a->eps, part);
  EACH_QUAD v[i] = v[i] * f * ((is_early ? early[i] : load_quad((const __global float*)weights, AT(i), a->n)) + a->w_offset);
}

FN void residual_norm_body(PHASE_ARGS residual_norm_args* a, Groups g, __local float* part, Wait wait) {
  const int n = a->n;
  float4 x_w[EACH], y_w[EACH];
  if (W_EARLY && g.first < g.count) {
    if (X_W) load_row((const __global float*)a->x_w, n, x_w);
    if (Y) load_row((const __global float*)a->y_w0, n, y_w);
  }
  const float scale = *(const __global float*)a->scale;  // another number where there is none: loads in a branch are waited for there
  phase_wait(wait);
  for (int row = g.first; row < g.count; row += g.step) {
    __global float* stream = (__global float*)a->r + (long)row * a->r_stride;
#if FROM
    const __global float* from = (const __global float*)a->from + (long)row * a->from_stride;
#else
    const __global float* from = stream;
#endif
    float4 s[EACH], r[EACH];
    load_row((const __global float*)a->x + (long)row * a->x_stride, n, s);
#if Z
    float4 z[EACH];
    load_row((const __global float*)a->z + (long)row * a->z_stride, n, z);
#endif
    if (R_EARLY) load_row(from, n, r);
#if X_W
    norm_row(s, x_w, W_EARLY, a->x_w, a, part);
#endif
#if Z
#if Z_W
    norm_row(z, z, 0, a->z_w, a, part);
#endif
    EACH_QUAD s[i] += z[i];
#if S_W
    norm_row(s, s, 0, a->s_w, a, part);
#endif
#endif
    const float by = a->has_scale ? scale : 1.0f;
    EACH_QUAD {
      s[i] = (s[i] + (R_EARLY ? r[i] : load_quad(from, AT(i), n))) * by;
      store_quad(stream, AT(i), n, s[i]);
    }
#if Y
    const float f = row_factor(s, n, a->eps, part);
    for (int k = 0; k < a->outputs; ++k) {
      const __global float* y_weights = (const __global float*)(k == 0 ? a->y_w0 : k == 1 ? a->y_w1 : a->y_w2);
      __global float* y = (__global float*)(k == 0 ? a->y0 : k == 1 ? a->y1 : a->y2) + (long)row * (k == 0 ? a->y_stride0 : k == 1 ? a->y_stride1 : a->y_stride2);
      EACH_QUAD store_quad(y, AT(i), n, s[i] * f * ((W_EARLY && k == 0 ? y_w[i] : load_quad(y_weights, AT(i), n)) + a->w_offset));
    }
#endif
  }
}
RANGE_KERNEL(residual_norm, GROUP_SUM_FLOATS)
