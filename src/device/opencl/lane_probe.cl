// What kernels rely on between lanes and in matrix instructions, on small whole numbers that bf16 holds exactly (lane_probe.cpp).
#include "shim.clh"

#define A_AT(i, k) ((uint)f2bf((float)(((i) * 3 + (k)) % 7 - 3)))
#define B_AT(k, n) ((uint)f2bf((float)(((k) * 5 + (n) * 2) % 11 - 5)))

// Of each sub-group: [8][SG], A [8][16] by B [16][SG], and the row's number added; then [3][SG], of each lane the sum and the
// largest of all, and the number of its mirror image.
#define WG 32
KERNEL(WG) void lane_probe(__global float* out) {
  SG_DECL(WG);
  const int l = (int)get_sub_group_local_id();
  out += (int)get_sub_group_id() * 11 * SG;
  int b[8];
  UNROLL for (int j = 0; j < 8; ++j) b[j] = (int)(B_AT(2 * j, l) | B_AT(2 * j + 1, l) << 16);
#if SG == 16
  short a[8];
  UNROLL for (int i = 0; i < 8; ++i) a[i] = (short)A_AT(i, l);
#else
  int a[8];
  UNROLL for (int i = 0; i < 8; ++i) a[i] = (int)(A_AT(i, 2 * l) | A_AT(i, 2 * l + 1) << 16);
#endif
  const float8 c = mad8(vload8(0, a), vload8(0, b), (float8)(0, 1, 2, 3, 4, 5, 6, 7));
  float row[8];
  vstore8(c, 0, row);
  UNROLL for (int i = 0; i < 8; ++i) out[i * SG + l] = row[i];
  out[8 * SG + l] = sub_group_reduce_add((float)(l + 1));
  out[9 * SG + l] = sub_group_reduce_max((float)(l * 7 % 5));
  out[10 * SG + l] = sg_shuffle((float)(l * l), SG - 1 - l);
}
