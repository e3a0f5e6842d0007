// x rounded to bf16, weights that bf16 holds exactly (scales of float8 apart), on the matrix instructions of mma.clh. Chunks of
// 32 inputs of x and of weights stream through local memory, STAGES - 1 stages ahead of the one that is multiplied.
//   WM x WN x WK warps, the last over K; each has TM fragments of 16 rows and TN times 32 outputs
//   FLOATS 1: x is float32 rows, rounded here; 0: x was rounded by matmul_round
#include "shim.clh"
#include "mma.clh"
#include "rows.clh"
#include "packed.clh"
#include "routed.clh"
#include "matmul_mma.clh"
#define WG (WARP * WM * WN * WK)
#define ROWS (WM * TM * 16)
#define PANELS (WN * TN * 2)
#define X_STAGE (WK * ROWS * 4)       // pieces of 16 bytes: [chunk][row][4]
#define X_STAGES (FLOATS ? 2 : STAGES)
#define X_EACH (X_STAGE / WG)
#define W_STAGE (WK * PANELS * PIECES)
#define W_EACH (W_STAGE / WG)
#define S_STAGE (WT == 4 ? WK * PANELS : 0)
#define STAGE_AT(s) (X_STAGES * X_STAGE + (s) * (W_STAGE + S_STAGE))
#define POOL (STAGE_AT(STAGES) > (WK - 1) * ROWS * PANELS * 4 ? STAGE_AT(STAGES) : (WK - 1) * ROWS * PANELS * 4)
#define NT (TN * 4)                   // fragments of 8 outputs

// Group of work-groups that run at about the same time: up to 16 tasks by some columns, so that both are read from the cache.
FN int2 place_of(int column, int task, int columns, int tasks) {
  const int i = task * columns + column, of = 16 * columns, first = i / of * 16, size = min(tasks - first, 16), in = i % of;
  return (int2)(in / size, first + in % size);
}

KERNEL(WG)
void matmul_mma(__global const float* x, int4 xs, int x_div, __global const uchar* w, long matrix_bytes, __global const float* bias, int has_bias, __global float* y, int4 ys,
                int rows, int n, int k, int route, __global const int* ids, __global const int* order, __global const int4* tasks, int part_steps, long part_stride) {
  SG_DECL(WG);
  __local uint4 pool[POOL];
  const int lid = (int)get_local_id(0), lane = lid % WARP, warp = lid / WARP, g = lane / 4, t = lane % 4;
  const int wk = warp / (WM * WN), wm = warp / WN % WM, wn = warp % WN, part = (int)get_group_id(2);
  const int2 place = place_of((int)get_group_id(0), (int)get_group_id(1), (int)get_num_groups(0), (int)get_num_groups(1));
  const int4 task = task_of(route, place.y, ROWS, rows, ids, tasks);
  const int panel0 = place.x * PANELS, panels = (n + 15) / 16, lines = packed_lines(k), chunks = (k + 31) / 32;
  const int begin = part * part_steps, end = task.z > 0 ? min((chunks + WK - 1) / WK, begin + part_steps) : begin;
  const uint panel_pieces = (uint)(packed_panel_bytes(k) / 16);
  const __global uint4* matrix = (const __global uint4*)(w + (long)task.x * matrix_bytes);

  // What this work-item copies: pieces at fixed places of each stage.
  const int piece = lid % PIECES, line0 = piece % 4 * LINES + piece / 16;  // within a chunk
  uint w_at[W_EACH];
  EACH for (int j = 0; j < W_EACH; j++) {
    const int u = lid / PIECES + j * (WG / PIECES);
    w_at[j] = (uint)min(panel0 + u % PANELS, panels - 1) * panel_pieces + (uint)((u / PANELS * 4 * LINES + line0) * 4 + piece / 4 % 4);
  }
#if WT == 4
  const uint s_at = (uint)min(panel0 + lid % PANELS, panels - 1) * panel_pieces + (uint)(lines * 4 + lid / PANELS);
#endif
#if FLOATS
  const int aligned = rows_aligned(x, xs);
  long x_at[X_EACH];
  float8 ahead[X_EACH];
#else
  uint x_at[X_EACH];
#endif
  EACH for (int j = 0; j < X_EACH; j++) {
    const int i = lid + j * WG, row = task_row(route, task, i / 4 % ROWS, order) / x_div;
#if FLOATS
    x_at[j] = ROW(x, xs, row) - x;
#else
    x_at[j] = (uint)(row * rounded_pieces(k)) + (uint)(i / (4 * ROWS) * 4 + i % 4);
#endif
  }
#define COPY(step)                                                                                                              \
  if ((step) < end) {                                                                                                           \
    __local uint4* to = pool + STAGE_AT((step) % STAGES) + lid;                                                                 \
    EACH for (int j = 0; j < W_EACH; j++) {                                                                                     \
      const int u = lid / PIECES + j * (WG / PIECES);                                                                           \
      const int real = ((step) * WK + u / PANELS) * 4 * LINES + line0 < lines;                                                  \
      copy_16(to + j * WG, matrix + (real ? w_at[j] + (uint)((step) * (WK * 16 * LINES)) : 0u), real);                          \
    }                                                                                                                           \
    COPY_SCALES(step)                                                                                                           \
    COPY_X(step)                                                                                                                \
  }                                                                                                                             \
  copies_commit();
#if WT == 4
#define COPY_SCALES(step)                                                                                              \
  if (lid < S_STAGE) {                                                                                                 \
    const int real = (step) * WK + lid / PANELS < chunks;                                                              \
    copy_16(to + W_STAGE, matrix + (real ? s_at + (uint)((step) * WK) : 0u), real);                                    \
  }
#else
#define COPY_SCALES(step)
#endif
#if FLOATS
#define COPY_X(step)
#define LOAD_X(step)                                                                                                                         \
  EACH for (int j = 0; j < X_EACH; j++) {                                                                                                    \
    const int i = lid + j * WG, first = (i / (4 * ROWS) * 4 + i % 4) * 8;                                                                    \
    float v[8];                                                                                                                              \
    load_8(x + x_at[j], min((step) * (WK * 32) + first, k), k, aligned, v);                                                          \
    ahead[j] = vload8(0, v);                                                                                                                 \
  }
#define STORE_X(step)                                                                     \
  EACH for (int j = 0; j < X_EACH; j++) {                                                 \
    float v[8];                                                                           \
    vstore8(ahead[j], 0, v);                                                              \
    pool[(step) % 2 * X_STAGE + lid + j * WG] = round_8(v);                               \
  }
#else
#define COPY_X(step) \
  EACH for (int j = 0; j < X_EACH; j++) copy_16(pool + (step) % STAGES * X_STAGE + lid + j * WG, (const __global uint4*)x + x_at[j] + (step) * (WK * 4), 1);
#define LOAD_X(step)
#define STORE_X(step)
#endif

  float4 acc[TM][NT];
  EACH for (int m = 0; m < TM; m++)
    EACH for (int i = 0; i < NT; i++) acc[m][i] = (float4)(0.0f);
#if WT == 3
  float4 sum[TM][NT];  // of a group of 128 inputs, which have a scale in common
  EACH for (int m = 0; m < TM; m++)
    EACH for (int i = 0; i < NT; i++) sum[m][i] = (float4)(0.0f);
#endif
  LOAD_X(begin)
  STORE_X(begin)
  EACH for (int s = 0; s < STAGES - 1; s++) { COPY(begin + s) }
  for (int step = begin; step < end; step++) {
    copies_wait(STAGES - 2);
    wg_barrier();
    COPY(step + STAGES - 1)
    LOAD_X(step + 1)
    __local const uint4* ws = pool + STAGE_AT(step % STAGES) + (wk * PANELS + wn * (TN * 2) + lane / 16) * PIECES + lane % 16;
    uint2 b[NT][2];
    EACH for (int h = 0; h < TN; h++) {
      uint v[LINES][4];
      EACH for (int i = 0; i < LINES; i++) vstore4(ws[h * 2 * PIECES + i * 16], 0, v[i]);
#if WT == 4
      const uint s = ((__local const uint*)(pool + STAGE_AT(step % STAGES) + W_STAGE))[(wk * PANELS + (wn * TN + h) * 2 + lane / 16) * 4 + g % 4];
#endif
      EACH for (int j = 0; j < 4; j++) {
#if WT == 4
        const uint e = e8m0_pair(s, j);
        b[h * 4 + j][0] = (uint2)(bf_mul(e2m1_pair(v[0][j], 0), e), bf_mul(e2m1_pair(v[0][j], 1), e));
        b[h * 4 + j][1] = (uint2)(bf_mul(e2m1_pair(v[0][j], 2), e), bf_mul(e2m1_pair(v[0][j], 3), e));
#elif WT == 3
        b[h * 4 + j][0] = (uint2)(e4m3_pair(v[0][j], 0), e4m3_pair(v[0][j], 1));
        b[h * 4 + j][1] = (uint2)(e4m3_pair(v[1][j], 0), e4m3_pair(v[1][j], 1));
#else
        b[h * 4 + j][0] = (uint2)(v[0][j], v[1][j]);
        b[h * 4 + j][1] = (uint2)(v[2][j], v[3][j]);
#endif
      }
    }
    __local const uint4* xt = pool + step % X_STAGES * X_STAGE + (wk * ROWS + wm * (TM * 16) + g) * 4 + t;
#if WT == 3
#define TO sum
#else
#define TO acc
#endif
    EACH for (int m = 0; m < TM; m++) {
      const uint4 upper = xt[m * 64], lower = xt[m * 64 + 32];
      EACH for (int i = 0; i < NT; i++) TO[m][i] = mma_16816((uint4)(upper.x, lower.x, upper.y, lower.y), b[i][0], TO[m][i]);
      EACH for (int i = 0; i < NT; i++) TO[m][i] = mma_16816((uint4)(upper.z, lower.z, upper.w, lower.w), b[i][1], TO[m][i]);
    }
#if WT == 3
    const int chunk = step * WK + wk;
    if (step + 1 >= end || (chunk + WK) / 4 != chunk / 4) {
      EACH for (int h = 0; h < TN; h++) {
        const int panel = min(panel0 + (wn * TN + h) * 2 + t / 2, panels - 1);
        const __global float4* s = (const __global float4*)(matrix + (ulong)panel * panel_pieces + lines * 4) + min(chunk, chunks - 1) / 4 * 4 + t % 2 * 2;
        float s0[4], s1[4];
        vstore4(s[0], 0, s0);
        vstore4(s[1], 0, s1);
        EACH for (int m = 0; m < TM; m++)
          EACH for (int j = 0; j < 4; j++) {
            acc[m][h * 4 + j] = fma(sum[m][h * 4 + j], (float4)(s0[j], s1[j], s0[j], s1[j]), acc[m][h * 4 + j]);
            sum[m][h * 4 + j] = (float4)(0.0f);
          }
      }
    }
#endif
    STORE_X(step + 1)
  }
  copies_wait(0);
#if WK > 1  // the first warp over K adds up what the others have
  wg_barrier();
  __local float4* parts = (__local float4*)pool + (wm * WN + wn) * WARP + lane;
  EACH for (int p = 1; p < WK; p++)
    if (wk == p)
      EACH for (int m = 0; m < TM; m++)
        EACH for (int i = 0; i < NT; i++) parts[(((p - 1) * TM + m) * NT + i) * (WM * WN * WARP)] = acc[m][i];
  wg_barrier();
  if (wk > 0) return;
  EACH for (int p = 1; p < WK; p++)
    EACH for (int m = 0; m < TM; m++)
      EACH for (int i = 0; i < NT; i++) acc[m][i] += parts[(((p - 1) * TM + m) * NT + i) * (WM * WN * WARP)];
#endif
  const int y_aligned = rows_aligned(y, ys) && (part_stride & 3) == 0;
  EACH for (int m = 0; m < TM; m++)
    EACH for (int r = 0; r < 2; r++) {
      const int row = (wm * TM + m) * 16 + r * 8 + g;
      if (row >= task.z) continue;
      __global float* to = ROW(y, ys, task_row(route, task, row, order)) + part * part_stride;
      EACH for (int h = 0; h < TN; h++) {
        const int o = (panel0 + (wn * TN + h) * 2) * 16 + 8 * t, left = n - o;
        float v[8];
        EACH for (int j = 0; j < 4; j++) {
          v[j] = r ? acc[m][h * 4 + j].z : acc[m][h * 4 + j].x;
          v[4 + j] = r ? acc[m][h * 4 + j].w : acc[m][h * 4 + j].y;
        }
        if (has_bias) EACH for (int j = 0; j < 8; j++) v[j] += j < left ? bias[(long)task.x * n + o + j] : 0.0f;
        store_8(v, o, n, y_aligned, to);
      }
    }
}
