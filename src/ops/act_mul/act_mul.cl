// ActMul (act_mul.h).
#include "pieces.clh"
#include "act.clh"

PIECE_KERNEL void act_mul(__global const float* gate, int4 gs, __global const float* up, int4 us, __global float* y, int4 ys, int n, int pieces, int act, float limit) {
  const int row = PIECE_ROW(pieces);
  gate = ROW(gate, gs, row);
  up = ROW(up, us, row);
  y = ROW(y, ys, row);
  float g[EACH], v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) {
    g[u] = PIECE_LOAD(gate, pieces, u, n);
    v[u] = PIECE_LOAD(up, pieces, u, n);
  }
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(pieces, u);
    if (i < n) y[i] = act_gated(act, g[u], v[u], limit);
  }
}
