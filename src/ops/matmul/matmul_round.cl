// x rounded to bf16 in the order of matmul_mma.clh, rows filled up to 64 inputs with zeros: 8 inputs a work-item.
#include "shim.clh"
#include "mma.clh"
#include "rows.clh"
#include "packed.clh"
#include "matmul_mma.clh"
#define WG 256

KERNEL(WG)
void matmul_round(__global const float* x, int4 xs, int rows, int k, __global uint4* to) {
  const long i = (long)get_group_id(0) * WG + get_local_id(0), pieces = rounded_pieces(k);
  const int row = (int)(i / pieces), piece = (int)(i % pieces);
  if (row >= rows) return;
  float v[8];
  load_8(ROW(x, xs, row), piece * 8, k, rows_aligned(x, xs), v);
  to[i] = round_8(v);
}
