// Softcap (softcap.h).
#include "pieces.clh"

typedef struct {
  ulong x; int4 xs; ulong y; int4 ys; int n, pieces; float cap;
} softcap_args;

FN void softcap_body(PHASE_ARGS softcap_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), n = a->n;
  const __global float* x = ROW((const __global float*)a->x, a->xs, row);
  __global float* y = ROW((__global float*)a->y, a->ys, row);
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = PIECE_LOAD(at, x, a->pieces, u, n);
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(at, a->pieces, u);
    if (i < n) y[i] = a->cap * tanh(v[u] / a->cap);
  }
}
PHASE_KERNEL(softcap, 0)
