// bf16 weights, x rounded to bf16: fragments of shim.clh. Packed weights are B fragments as they lie: words [k / 2][16
// outputs]. x is staged in local memory as A fragments.
//   SGM x SGN x SGK sub-groups, the last over K; each holds TM x TN fragments and takes U steps of 16 inputs at a time.
#include "shim.clh"
#include "rows.clh"
#include "routed.clh"
#define WG (SG * SGM * SGN * SGK)
#define MT (SGM * TM)       // A fragments over rows
#define KS (SGK * U)        // steps between barriers
#define ROWS (MT * 8)
#define COLUMNS (SGN * TN * SG)
#define UNROLL_1 _Pragma("unroll 1")  // more spills registers

// Eight lines of a panel from `line` on, zeros after the last one.
FN int8 panel_fragment(__global const uint* p, int line, int lines) {
#if X_HW == 1 && SG == 16
  if (line + 8 <= lines) return as_int8(intel_sub_group_block_read8(p + (long)line * 16));
#endif
  uint b[8];
  UNROLL for (int j = 0; j < 8; ++j) {
    const uint v = p[(long)min(line + j, lines - 1) * 16 + get_sub_group_local_id()];
    b[j] = line + j < lines ? v : 0u;
  }
  return as_int8(vload8(0, b));
}

KERNEL(WG)
void matmul_mad(__global const float* x, int4 xs, int x_div, __global const uchar* w, long matrix_bytes, __global const float* bias, int has_bias, __global float* y, int4 ys,
                int rows, int n, int k, int round_x, int route, __global const int* ids, __global const int* order, __global const int4* tasks) {
  SG_DECL(WG);
  __local ushort at[2 * KS * MT * 128] __attribute__((aligned(32)));
  __local long x_at[ROWS], y_at[ROWS];
#if SGK > 1
  __local float parts[SGK * ROWS * COLUMNS];
#endif
  const int lid = (int)get_local_id(0), lane = (int)get_sub_group_local_id(), sg = (int)get_sub_group_id();
  const int sk = sg / (SGM * SGN), sm = sg / SGN % SGM, sn = sg % SGN, n0 = (int)get_group_id(0) * COLUMNS;
  const int4 task = task_of(route, (int)get_group_id(1), ROWS, rows, ids, tasks);
  for (int i = lid; i < ROWS; i += WG) {
    const int row = task_row(route, task, i, order);
    x_at[i] = ROW(x, xs, row / x_div) - x;
    y_at[i] = ROW(y, ys, row) - y;
  }
  wg_barrier();
  const int lines = (k + 1) / 2, chunks = task.z > 0 ? (k + 16 * KS - 1) / (16 * KS) : 0, panels = (n + 15) / 16;
  __global const uint* panel[TN];
  float8 acc[TM][TN];
  UNROLL for (int j = 0; j < TN; ++j) {
    const int column = n0 + (sn * TN + j) * SG;
    panel[j] = (__global const uint*)(w + (long)task.x * matrix_bytes) + (long)min(column / 16, panels - 1) * lines * 16 + column % 16;
    UNROLL for (int i = 0; i < TM; ++i) acc[i][j] = (float8)(0.0f);
  }
  for (int c = 0; c < chunks; ++c) {
    int8 b[U][TN];
#define LOAD_B(u) UNROLL for (int j = 0; j < TN; ++j) b[u][j] = panel_fragment(panel[j], (c * KS + sk * U + (u)) * 8, lines)
#if SGK > 1  // few rows: weights are under way while x is staged; with many rows the registers are taken
    UNROLL for (int u = 0; u < U; ++u) LOAD_B(u);
#endif
    __local ushort* tile = at + (c & 1) * (KS * MT * 128);  // the other one may still be read
    UNROLL_1 for (int i = lid; i < KS * MT * 16; i += WG) {
      const int column = i % 16, fragment = i / 16, r0 = fragment % MT * 8, kk = (c * KS + fragment / MT) * 16 + column, kc = min(kk, k - 1);
      __local ushort* f = tile + fragment * 128;
      ushort v[8];
      UNROLL for (int r = 0; r < 8; ++r) v[r] = kk < k ? f2bf(x[x_at[r0 + r] + kc]) : (ushort)0;
#if SG == 16
      *(__local ushort8*)(f + AF_IDX(0, column)) = vload8(0, v);
#else
      UNROLL for (int r = 0; r < 8; ++r) f[AF_IDX(r, column)] = v[r];
#endif
    }
    wg_barrier();
    UNROLL for (int u = 0; u < U; ++u) {
#if SGK == 1
      LOAD_B(u);
#endif
      UNROLL for (int i = 0; i < TM; ++i) {
        const afrag a = af_get(tile + ((sk * U + u) * MT + sm * TM + i) * 128);
        UNROLL for (int j = 0; j < TN; ++j) acc[i][j] = mad8(a, b[u][j], acc[i][j]);
      }
    }
  }
#if SGK > 1
  UNROLL for (int i = 0; i < TM; ++i)
    UNROLL for (int j = 0; j < TN; ++j) {
      float t[8];
      vstore8(acc[i][j], 0, t);
      UNROLL for (int r = 0; r < 8; ++r) parts[(sk * ROWS + (sm * TM + i) * 8 + r) * COLUMNS + (sn * TN + j) * SG + lane] = t[r];
    }
  wg_barrier();
  for (int i = lid; i < ROWS * COLUMNS; i += WG) {
    const int r = i / COLUMNS, o = n0 + i % COLUMNS;
    float v = has_bias ? bias[(long)task.x * n + min(o, n - 1)] : 0.0f;
    UNROLL for (int p = 0; p < SGK; ++p) v += parts[p * ROWS * COLUMNS + i];
    if (r < task.z && o < n) y[y_at[r] + o] = v;
  }
#else
  UNROLL for (int j = 0; j < TN; ++j) {
    const int o = n0 + (sn * TN + j) * SG + lane;
    const float add = has_bias ? bias[(long)task.x * n + min(o, n - 1)] : 0.0f;
    UNROLL for (int i = 0; i < TM; ++i) {
      float t[8];
      vstore8(acc[i][j], 0, t);
      UNROLL for (int r = 0; r < 8; ++r) {
        const int row = (sm * TM + i) * 8 + r;
        if (row < task.z && o < n) y[y_at[row] + o] = t[r] + add;
      }
    }
  }
#endif
}
