// Adds the parts of a product whose K was split over work-groups: parts [parts, rows, n].
#include "shim.clh"
#include "rows.clh"
#define WG 128

__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void matmul_sum(__global const float* parts, int n_parts, long stride, __global const float* bias, int has_bias, __global float* y, int4 ys, int n) {
  const int o = (int)get_global_id(0), row = (int)get_group_id(1);
  if (o >= n) return;
  parts += (long)row * n + o;
  float v = has_bias ? bias[o] : 0.0f;
  for (int i = 0; i < n_parts; i++) v += parts[i * stride];
  ROW(y, ys, row)[o] = v;
}
