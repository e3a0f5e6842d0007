// MeanRows (mean_rows.h).
#include "pieces.clh"

typedef struct {
  ulong x; int4 xs; ulong shift, w; int has_w; ulong y; int4 ys; int n, pieces, rows; float factor;
} mean_rows_args;

FN void mean_rows_body(PHASE_ARGS mean_rows_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), n = a->n, has_w = a->has_w;
  const __global float *shift = (const __global float*)a->shift, *w = (const __global float*)a->w;
  __global float* y = ROW((__global float*)a->y, a->ys, row);
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = 0.0f;
  for (int r = 0; r < a->rows; ++r) {
    const __global float* x = ROW((const __global float*)a->x, a->xs, row * a->rows + r);
    UNROLL for (int u = 0; u < EACH; ++u) v[u] += PIECE_LOAD(at, x, a->pieces, u, n);
  }
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(at, a->pieces, u);
    const float mean = v[u] * a->factor;
    if (i < n) y[i] = has_w ? (mean - shift[i]) * w[i] : mean;
  }
}
PHASE_KERNEL(mean_rows, 0)
