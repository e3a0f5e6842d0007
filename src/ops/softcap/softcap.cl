// Softcap (softcap.h).
#include "pieces.clh"

PIECE_KERNEL void softcap(__global const float* x, int4 xs, __global float* y, int4 ys, int n, int pieces, float cap) {
  const int row = PIECE_ROW(pieces);
  x = ROW(x, xs, row);
  y = ROW(y, ys, row);
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = PIECE_LOAD(x, pieces, u, n);
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(pieces, u);
    if (i < n) y[i] = cap * tanh(v[u] / cap);
  }
}
