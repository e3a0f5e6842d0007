// GatedAdd (gated_add.h).
#include "pieces.clh"

typedef struct {
  ulong a; int4 as; ulong b; int4 bs; ulong gate; int4 gs; ulong y; int4 ys; int n, pieces;
} gated_add_args;

FN void gated_add_body(PHASE_ARGS gated_add_args* g, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, g->pieces), n = g->n;
  const __global float* a = ROW((const __global float*)g->a, g->as, row);
  const __global float* b = ROW((const __global float*)g->b, g->bs, row);
  __global float* y = ROW((__global float*)g->y, g->ys, row);
  const float s = 1.0f / (1.0f + exp(-ROW((const __global float*)g->gate, g->gs, row)[0]));
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = fma(PIECE_LOAD(at, b, g->pieces, u, n), s, PIECE_LOAD(at, a, g->pieces, u, n));
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(at, g->pieces, u);
    if (i < n) y[i] = v[u];
  }
}
PHASE_KERNEL(gated_add, 0)
