// Gather (gather.h). type: 0 float32, 1 bfloat16, 2 float16. packed: groups of `width` inputs of a row stand 16 groups apart.
#include "pieces.clh"

// In whole numbers, as half needs an extension and denormals may be flushed.
FN float f16_to_float(uint h) {
  const uint e = h >> 10 & 31, m = h & 1023;
  const float v = e ? as_float((e == 31 ? 255u : e + 112) << 23 | m << 13) : (float)m * 0x1p-24f;
  return h & 0x8000 ? -v : v;
}

FN float number(__global const char* table, int type, long i) {
  if (type == 0) return ((__global const float*)table)[i];
  if (type == 1) return bf2f(((__global const ushort*)table)[i]);
  return f16_to_float(((__global const ushort*)table)[i]);
}

typedef struct {
  ulong table; int type, packed; long stride; int rows; ulong ids; ulong y; int4 ys; int n, pieces; float scale;
} gather_args;

FN void gather_body(PHASE_ARGS gather_args* a, int3 at, __local float* mem) {
  const int row = PIECE_ROW(at, a->pieces), id = ((const __global int*)a->ids)[row], width = a->type == 0 ? 1 : 2, known = id >= 0 && id < a->rows, n = a->n;
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
