// GatedAdd (gated_add.h).
#include "pieces.clh"

PIECE_KERNEL void gated_add(__global const float* a, int4 as, __global const float* b, int4 bs, __global const float* gate, int4 gs, __global float* y, int4 ys, int n,
                            int pieces) {
  const int row = PIECE_ROW(pieces);
  a = ROW(a, as, row);
  b = ROW(b, bs, row);
  y = ROW(y, ys, row);
  const float s = 1.0f / (1.0f + exp(-ROW(gate, gs, row)[0]));
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = fma(PIECE_LOAD(b, pieces, u, n), s, PIECE_LOAD(a, pieces, u, n));
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(pieces, u);
    if (i < n) y[i] = v[u];
  }
}
