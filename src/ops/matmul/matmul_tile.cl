// Many rows, exact float32 products of any weight type: 64 rows by 64 outputs a work-group, 8 by 4 a work-item. The next
// 16 inputs are loaded while one such step is multiplied.
#include "shim.clh"
#include "rows.clh"
#include "packed.clh"
#include "routed.clh"
#define WG 128
#define TM 64
#define TK 16
#define XP 68                    // floats of an input's rows, padded
#define QUADS (64 / 4 * TK / P)  // uint4 of a step's weights
#define WQ ((QUADS + WG - 1) / WG)
#define XQ (TM * TK / WG)
#define UNROLL_1 _Pragma("unroll 1")  // more spills registers

__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void matmul_tile(__global const float* x, int4 xs, int x_div, __global const uchar* w, long matrix_bytes, __global const float* bias, int has_bias, __global float* y, int4 ys,
                 int rows, int n, int k, int round_x, int route, __global const int* ids, __global const int* order, __global const int4* tasks) {
  __local float xt[TK * XP] __attribute__((aligned(16)));
  __local float wt[TK * 64] __attribute__((aligned(16)));
  __local long x_at[TM], y_at[TM];
  const int lid = (int)get_local_id(0), n0 = (int)get_group_id(0) * 64;
  const int4 task = task_of(route, (int)get_group_id(1), TM, rows, ids, tasks);
  if (lid < TM) {
    const int row = task_row(route, task, lid, order);
    x_at[lid] = ROW(x, xs, row / x_div) - x;
    y_at[lid] = ROW(y, ys, row) - y;
  }
  wg_barrier();
  const int lines = packed_lines(k), steps = task.z > 0 ? (k + TK - 1) / TK : 0, panels = (n + 15) / 16;
  const int xk = lid % TK, xr = lid / TK;
  const __global uchar* matrix = w + (long)task.x * matrix_bytes;
  const __global uint4* words[WQ];
  int line0[WQ];
#if WT >= 3
  const __global uchar* scales[WQ];
  scale_word scale[WQ];
#endif
  UNROLL for (int i = 0; i < WQ; i++) {
    const int at = min(lid + i * WG, QUADS - 1), in_panel = at % (QUADS / 4);
    const __global uchar* base = matrix + (long)min(n0 / 16 + at / (QUADS / 4), panels - 1) * packed_panel_bytes(k);
    words[i] = (const __global uint4*)base + in_panel % 4;
    line0[i] = in_panel / 4;
#if WT >= 3
    scales[i] = base + (long)lines * 64;
#endif
  }
  float xv[XQ];
  uint4 q[WQ];
#define LOAD(step)                                                                      \
  {                                                                                     \
    const int kk = (step)*TK + xk, kc = min(kk, k - 1);                                 \
    UNROLL for (int i = 0; i < XQ; i++) {                                               \
      const float v = x[x_at[xr + i * (WG / TK)] + kc];                                 \
      xv[i] = kk < k ? v : 0.0f;                                                        \
    }                                                                                   \
    UNROLL for (int i = 0; i < WQ; i++) {                                               \
      const int line = min((step) * (TK / P) + line0[i], lines - 1);                    \
      q[i] = words[i][(long)line * 4];                                                  \
      LOAD_SCALE                                                                        \
    }                                                                                   \
  }
#if WT >= 3
#define LOAD_SCALE scale[i] = load_scale(scales[i], line, (lid + i * WG) % 4);
#else
#define LOAD_SCALE
#endif
  LOAD(0)
  const int tx = lid % 16, ty = lid / 16;
  float4 acc[8];
  UNROLL for (int i = 0; i < 8; i++) acc[i] = (float4)(0.0f);
  for (int step = 0; step < steps; step++) {
    UNROLL for (int i = 0; i < XQ; i++) xt[xk * XP + xr + i * (WG / TK)] = round_x ? bf2f(f2bf(xv[i])) : xv[i];
    UNROLL for (int i = 0; i < WQ; i++) {
      const int at = lid + i * WG;
      if (at < QUADS) UNROLL for (int p = 0; p < P; p++) {
          float4 v = weight4(q[i], p);
#if WT >= 3
          v *= scale4(scale[i]);
#endif
          *(__local float4*)(wt + (line0[i] * P + p) * 64 + at / (QUADS / 4) * 16 + at % 4 * 4) = v;
        }
    }
    wg_barrier();
    LOAD(min(step + 1, steps - 1))
    UNROLL_1 for (int kk = 0; kk < TK; kk++) {
      const float4 wv = *(__local const float4*)(wt + kk * 64 + tx * 4), x0 = *(__local const float4*)(xt + kk * XP + ty * 8), x1 = *(__local const float4*)(xt + kk * XP + ty * 8 + 4);
      acc[0] = fma(wv, (float4)(x0.x), acc[0]);
      acc[1] = fma(wv, (float4)(x0.y), acc[1]);
      acc[2] = fma(wv, (float4)(x0.z), acc[2]);
      acc[3] = fma(wv, (float4)(x0.w), acc[3]);
      acc[4] = fma(wv, (float4)(x1.x), acc[4]);
      acc[5] = fma(wv, (float4)(x1.y), acc[5]);
      acc[6] = fma(wv, (float4)(x1.z), acc[6]);
      acc[7] = fma(wv, (float4)(x1.w), acc[7]);
    }
    wg_barrier();
  }
  const int o = n0 + tx * 4;
  float b[4];
  UNROLL for (int j = 0; j < 4; j++) b[j] = has_bias ? bias[(long)task.x * n + min(o + j, n - 1)] : 0.0f;
  UNROLL for (int i = 0; i < 8; i++) {
    const int r = ty * 8 + i;
    float v[4];
    vstore4(acc[i], 0, v);
    if (r < task.z) UNROLL for (int j = 0; j < 4; j++)
        if (o + j < n) y[y_at[r] + o + j] = v[j] + b[j];
  }
}
