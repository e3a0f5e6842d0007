// Adds the parts of a product whose K was split over work-groups: parts [parts, rows, n].
#include "phase.clh"
#define WG 256

typedef struct {
  ulong parts; int n_parts; long stride; ulong bias; int has_bias; ulong y; int4 ys; int n;
} matmul_sum_args;

FN void matmul_sum_body(PHASE_ARGS matmul_sum_args* a, int3 at, __local float* mem) {
  const int o = at.x * WG + (int)get_local_id(0), row = at.y;
  if (o >= a->n) return;
  const __global float* parts = (const __global float*)a->parts + (long)row * a->n + o;
  float v = a->has_bias ? ((const __global float*)a->bias)[o] : 0.0f;
  for (int i = 0; i < a->n_parts; i++) v += parts[i * a->stride];
  ROW((__global float*)a->y, a->ys, row)[o] = v;
}
PHASE_KERNEL(matmul_sum, 0)
