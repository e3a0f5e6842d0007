// RmsNorm (rms_norm.h): one work-group a row.
#include "shim.clh"
#include "rows.clh"
#define WG 128

__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void rms_norm(__global const float* x, int4 xs, __global const float* w, int has_w, __global const float* r, int4 rs, int has_r,
              __global const float* scale, int has_scale, __global float* y, int4 ys, int n, float eps, float w_offset) {
  __local float part[WG];
  const int row = (int)get_group_id(0), lid = (int)get_local_id(0);
  x = ROW(x, xs, row);
  y = ROW(y, ys, row);
  if (has_r) r = ROW(r, rs, row);
  float sum = 0.0f;
  for (int i = lid; i < n; i += WG) sum = fma(x[i], x[i], sum);
  part[lid] = sum;
  wg_barrier();
  for (int half_ = WG / 2; half_; half_ /= 2) {
    if (lid < half_) part[lid] += part[lid + half_];
    wg_barrier();
  }
  const float f = 1.0f / sqrt(part[0] / (float)n + eps), s = has_scale ? scale[0] : 1.0f;
  for (int i = lid; i < n; i += WG) {
    float v = x[i] * f;
    if (has_w) v *= w[i] + w_offset;
    y[i] = has_r ? (v + r[i]) * s : v * s;
  }
}
