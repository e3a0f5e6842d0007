// Clamp (clamp.h). NaN stays.
#include "pieces.clh"

typedef struct {
  ulong x; int4 xs; ulong lo, hi, y; int4 ys; int n, pieces;
} clamp_rows_args;

FN void clamp_rows_body(PHASE_ARGS clamp_rows_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), n = a->n;
  const __global float* x = ROW((const __global float*)a->x, a->xs, row);
  __global float* y = ROW((__global float*)a->y, a->ys, row);
  const float lo = *(const __global float*)a->lo, hi = *(const __global float*)a->hi;
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = PIECE_LOAD(at, x, a->pieces, u, n);
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(at, a->pieces, u);
    const float least = v[u] < lo ? lo : v[u];
    if (i < n) y[i] = least > hi ? hi : least;
  }
}
PHASE_KERNEL(clamp_rows, 0)
