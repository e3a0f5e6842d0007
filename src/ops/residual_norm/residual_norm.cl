// ResidualNorm (residual_norm.h): a work-group a row, which lies in registers from the first pass to the last.
//   EACH     1024ths of a row, rounded up: groups of four numbers that a work-item has
//   ALIGNED  rows and weights are, to 16 bytes
//   Z        there is a second summand
#include "phase.clh"
#include "group_sum.clh"
#define WG 256
// What is loaded before the sums that it waits for, as far as registers allow.
#define R_EARLY (EACH <= (Z ? 4 : 8))
#define W_EARLY (EACH <= (Z ? 2 : 4))
#define EACH_QUAD UNROLL for (int i = 0; i < EACH; ++i)

// Four numbers of a row of n, those of work-item `lid` in part i; zeros past the end.
#if ALIGNED
#define AT(i) (((i) * WG + (int)get_local_id(0)) * 4)
FN float4 load_quad(const __global float* p, int at, int n) {
  const float4 v = *(const __global float4*)(p + min(at, n - 4));
  return at < n ? v : (float4)(0.0f);
}
FN void store_quad(__global float* p, int at, int n, float4 v) {
  if (at < n) *(__global float4*)(p + at) = v;
}
#else
#define AT(i) ((i) * WG * 4 + (int)get_local_id(0))
FN float load_one(const __global float* p, int at, int n) {
  const float v = p[min(at, n - 1)];
  return at < n ? v : 0.0f;
}
FN float4 load_quad(const __global float* p, int at, int n) {
  return (float4)(load_one(p, at, n), load_one(p, at + WG, n), load_one(p, at + 2 * WG, n), load_one(p, at + 3 * WG, n));
}
FN void store_quad(__global float* p, int at, int n, float4 v) {
  if (at < n) p[at] = v.x;
  if (at + WG < n) p[at + WG] = v.y;
  if (at + 2 * WG < n) p[at + 2 * WG] = v.z;
  if (at + 3 * WG < n) p[at + 3 * WG] = v.w;
}
#endif

FN void load_row(const __global float* p, int n, float4* v) { EACH_QUAD v[i] = load_quad(p, AT(i), n); }
// 1 / sqrt(mean of the squares + eps). Barriers.
FN float row_factor(const float4* v, int n, float eps, __local float* part) {
  float s = 0.0f;
  EACH_QUAD s += dot(v[i], v[i]);
  return 1.0f / sqrt(group_sum(part, s) / (float)n + eps);
}

typedef struct {
  ulong x, z, r, scale, x_w, z_w, s_w, y0, y1, y2, y_w0, y_w1, y_w2;  // r + stride * row, ...
  int x_stride, z_stride, r_stride, y_stride0, y_stride1, y_stride2;
  int has_x_w, has_z_w, has_s_w, has_scale, outputs, n;
  float eps, w_offset;
} residual_norm_args;

// The norm of v in place. Loads the weights first, unless w has them already.
FN void norm_row(float4* v, ulong weights, float4* w, int loaded, const residual_norm_args* a, __local float* part) {
  const float f = row_factor(v, a->n, a->eps, part);
  if (!loaded) load_row((const __global float*)weights, a->n, w);
  EACH_QUAD v[i] = v[i] * f * (w[i] + a->w_offset);
}

FN void residual_norm_body(const residual_norm_args* a, Groups g, __local float* part, Wait wait) {
  const int n = a->n;
  float4 x_w[EACH], y_w[EACH];
  if (W_EARLY && g.first < g.count) {
    if (a->has_x_w) load_row((const __global float*)a->x_w, n, x_w);
    if (a->outputs) load_row((const __global float*)a->y_w0, n, y_w);
  }
  phase_wait(wait);
  for (int row = g.first; row < g.count; row += g.step) {
    __global float* stream = (__global float*)a->r + (long)row * a->r_stride;
    float4 s[EACH], r[EACH];
    load_row((const __global float*)a->x + (long)row * a->x_stride, n, s);
#if Z
    float4 z[EACH];
    load_row((const __global float*)a->z + (long)row * a->z_stride, n, z);
#endif
    if (R_EARLY) load_row(stream, n, r);
    if (a->has_x_w) norm_row(s, a->x_w, x_w, W_EARLY, a, part);
#if Z
    float4 w[EACH];
    if (a->has_z_w) norm_row(z, a->z_w, w, 0, a, part);
    EACH_QUAD s[i] += z[i];
    if (a->has_s_w) norm_row(s, a->s_w, w, 0, a, part);
#endif
    const float by = a->has_scale ? *(const __global float*)a->scale : 1.0f;
    EACH_QUAD {
      s[i] = (s[i] + (R_EARLY ? r[i] : load_quad(stream, AT(i), n))) * by;
      store_quad(stream, AT(i), n, s[i]);
    }
    if (a->outputs) {
      const float f = row_factor(s, n, a->eps, part);
      for (int k = 0; k < a->outputs; ++k) {
        const __global float* w = (const __global float*)(k == 0 ? a->y_w0 : k == 1 ? a->y_w1 : a->y_w2);
        __global float* y = (__global float*)(k == 0 ? a->y0 : k == 1 ? a->y1 : a->y2) + (long)row * (k == 0 ? a->y_stride0 : k == 1 ? a->y_stride1 : a->y_stride2);
        EACH_QUAD store_quad(y, AT(i), n, s[i] * f * ((W_EARLY && k == 0 ? y_w[i] : load_quad(w, AT(i), n)) + a->w_offset));
      }
    }
  }
}
RANGE_KERNEL(residual_norm, GROUP_SUM_FLOATS)
