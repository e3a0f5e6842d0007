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

PIECE_KERNEL void gather(__global const char* table, int type, int packed, long stride, int rows, __global const int* ids, __global float* y, int4 ys, int n, int pieces,
                         float scale) {
  const int row = PIECE_ROW(pieces), id = ids[row], width = type == 0 ? 1 : 2, known = id >= 0 && id < rows;
  const long r = known ? id : 0;
  const long base = packed ? r / 16 * 16 * ((n + width - 1) / width * width) + r % 16 * width : r * stride;
  y = ROW(y, ys, row);
  float v[EACH];
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int k = min(PIECE_AT(pieces, u), n - 1);
    v[u] = number(table, type, base + (packed ? k / width * 16 * width + k % width : k));
  }
  UNROLL for (int u = 0; u < EACH; ++u) {
    const int k = PIECE_AT(pieces, u);
    if (k < n) y[k] = known ? v[u] * scale : 0.0f;
  }
}
