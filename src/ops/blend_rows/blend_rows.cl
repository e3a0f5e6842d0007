// BlendRows (blend_rows.h). type: of float_table.clh.
#include "pieces.clh"
#include "float_table.clh"

typedef struct {
  ulong x; int4 xs; ulong table; int type; long stride; int rows; ulong ids, weights; int each; ulong y; int4 ys; int n, pieces;
} blend_rows_args;

FN void blend_rows_body(PHASE_ARGS blend_rows_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), n = a->n, type = a->type;
  const __global float* x = ROW((const __global float*)a->x, a->xs, row);
  const __global char* table = (const __global char*)a->table;
  const __global int* ids = (const __global int*)a->ids + (long)row * a->each;
  const __global float* weights = (const __global float*)a->weights + (long)row * a->each;
  __global float* y = ROW((__global float*)a->y, a->ys, row);
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) v[u] = PIECE_LOAD(at, x, a->pieces, u, n);
  for (int j = 0; j < a->each; ++j) {
    const long base = clamp(ids[j], 0, a->rows - 1) * a->stride;
    const float w = weights[j];
    UNROLL for (int u = 0; u < EACH; ++u) v[u] = fma(w, number(table, type, base + min(PIECE_AT(at, a->pieces, u), n - 1)), v[u]);
  }
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int i = PIECE_AT(at, a->pieces, u);
    if (i < n) y[i] = v[u];
  }
}
PHASE_KERNEL(blend_rows, 0)
