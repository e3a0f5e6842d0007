// ActMul (act_mul.h).
#include "pieces.clh"
#include "act.clh"

typedef struct {
  ulong gate; int4 gs; ulong up; int4 us; ulong y; int4 ys; int n, pieces, act, has_up; float limit;
} act_mul_args;

FN void act_mul_body(PHASE_ARGS act_mul_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), n = a->n;
  const __global float* gate = ROW((const __global float*)a->gate, a->gs, row);
  const __global float* up = ROW((const __global float*)a->up, a->us, row);
  __global float* y = ROW((__global float*)a->y, a->ys, row);
  float g[EACH], v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) {
    g[u] = PIECE_LOAD(at, gate, a->pieces, u, n);
    v[u] = a->has_up ? PIECE_LOAD(at, up, a->pieces, u, n) : 1.0f;
  }
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(at, a->pieces, u);
    if (i < n) y[i] = act_gated(a->act, g[u], v[u], a->limit);
  }
}
PHASE_KERNEL(act_mul, 0)
