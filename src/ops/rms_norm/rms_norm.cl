// RmsNorm (rms_norm.h): one work-group a row.
#include "phase.clh"
#define WG 256

typedef struct {
  ulong x; int4 xs; ulong w; int has_w; ulong r; int4 rs; int has_r; ulong scale; int has_scale; ulong y; int4 ys; int n; float eps, w_offset;
} rms_norm_args;

FN void rms_norm_body(const rms_norm_args* a, int3 at, __local float* part) {
  const int lid = (int)get_local_id(0), n = a->n;
  const __global float* x = ROW((const __global float*)a->x, a->xs, at.x);
  const __global float* r = ROW((const __global float*)a->r, a->rs, a->has_r ? at.x : 0);
  const __global float* w = (const __global float*)a->w;
  __global float* y = ROW((__global float*)a->y, a->ys, at.x);
  float sum = 0.0f;
  for (int i = lid; i < n; i += WG) sum = fma(x[i], x[i], sum);
  part[lid] = sum;
  wg_barrier();
  for (int half_ = WG / 2; half_; half_ /= 2) {
    if (lid < half_) part[lid] += part[lid + half_];
    wg_barrier();
  }
  const float f = 1.0f / sqrt(part[0] / (float)n + a->eps), s = a->has_scale ? *(const __global float*)a->scale : 1.0f;
  for (int i = lid; i < n; i += WG) {
    float v = x[i] * f;
    if (a->has_w) v *= w[i] + a->w_offset;
    y[i] = a->has_r ? (v + r[i]) * s : v * s;
  }
}
PHASE_KERNEL(rms_norm, WG)
