// Gather (gather.h). packed: groups of `width` inputs of a row stand 16 groups apart.
#include "pieces.clh"
#include "float_table.clh"

typedef struct {
  ulong table; int type, packed; long stride; int rows; ulong ids; ulong y; int4 ys; int n, pieces; float scale; int alias0, alias1, alias2, alias_of;
} gather_args;

FN void gather_body(PHASE_ARGS gather_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), given = ((const __global int*)a->ids)[row], width = a->type == 0 ? 1 : 2, n = a->n;
  const int alias = given >= 0 && (given == a->alias0 || given == a->alias1 || given == a->alias2);
  const int id = alias ? a->alias_of : given, known = id >= 0 && id < a->rows;
  const __global char* table = (const __global char*)a->table;
  const long r = known ? id : 0;
  const long base = a->packed ? r / 16 * 16 * ((n + width - 1) / width * width) + r % 16 * width : r * a->stride;
  __global float* y = ROW((__global float*)a->y, a->ys, row);
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int k = min(PIECE_AT(at, a->pieces, u), n - 1);
    v[u] = number(table, a->type, base + (a->packed ? k / width * 16 * width + k % width : k));
  }
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int k = PIECE_AT(at, a->pieces, u);
    if (k < n) y[k] = known ? v[u] * a->scale : 0.0f;
  }
}
PHASE_KERNEL(gather, 0)
