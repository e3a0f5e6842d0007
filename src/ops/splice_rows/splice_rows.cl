// SpliceRows (splice_rows.h).
#include "pieces.clh"

typedef struct {
  ulong x, from, rows; int n, pieces, count;
} splice_rows_args;

FN void splice_rows_body(PHASE_ARGS splice_rows_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), n = a->n, taken = ((const __global int*)a->rows)[row], known = taken >= 0 && taken < a->count;
  if (taken < 0) return;  // nobody waits here for anybody
  const __global float* from = (const __global float*)a->from + (known ? taken : 0) * (long)n;
  __global float* x = (__global float*)a->x + row * (long)n;
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = known ? PIECE_LOAD(at, from, a->pieces, u, n) : 0.0f;
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(at, a->pieces, u);
    if (i < n) x[i] = v[u];
  }
}
PHASE_KERNEL(splice_rows, 0)
