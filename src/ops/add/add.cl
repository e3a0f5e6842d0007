// Add (add.h).
#include "pieces.clh"

PIECE_KERNEL void add(__global const float* a, int4 as, __global const float* b, int4 bs, __global float* y, int4 ys, int n, int pieces, float scale) {
  const int row = PIECE_ROW(pieces);
  a = ROW(a, as, row);
  b = ROW(b, bs, row);
  y = ROW(y, ys, row);
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = (PIECE_LOAD(a, pieces, u, n) + PIECE_LOAD(b, pieces, u, n)) * scale;
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(pieces, u);
    if (i < n) y[i] = v[u];
  }
}
