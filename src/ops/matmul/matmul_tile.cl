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
#if X_HW == 2
#define ROLLED UNROLL
#else
#define ROLLED _Pragma("unroll 1")  // more spills registers
#endif
#if WT < 3
#define UNROLL_P UNROLL
#else
#define UNROLL_P ROLLED
#endif

KERNEL(WG)  // of the narrow sub-group: with wider ones some compilers spill registers
void matmul_tile(__global const float* x, int4 xs, int x_div, __global const uchar* w, long matrix_bytes, __global const float* bias, int has_bias, __global float* y, int4 ys,
                 int rows, int n, int k, int round_x, int route, __global const int* ids, __global const int* order, __global const int4* tasks) {
  __local float xt[TK * XP] __attribute__((aligned(16)));
  __local float wt[TK * 64] __attribute__((aligned(16)));
  __local long x_at[TM], y_at[TM];  // addresses of rows of x, offsets of rows of y
  const int lid = (int)get_local_id(0), n0 = (int)get_group_id(0) * 64;
  const int4 task = task_of(route, (int)get_group_id(1), TM, rows, ids, tasks);
  if (lid < TM) {
    const int row = task_row(route, task, lid, order);
    x_at[lid] = (long)ROW(x, xs, row / x_div);
    y_at[lid] = ROW(y, ys, row) - y;
  }
  wg_barrier();
  const int lines = packed_lines(k), steps = task.z > 0 ? (k + TK - 1) / TK : 0, panels = (n + 15) / 16;
  const int xk = lid % TK, xr = lid / TK;
  const __global uchar* matrix = w + (long)task.x * matrix_bytes;
  const int line0 = lid % (QUADS / 4) / 4;  // in a step; WG is a multiple of QUADS / 4
  const __global uint4* words[WQ];
#if WT >= 3
  const __global uchar* scales[WQ];
  scale_word scale[WQ];
#endif
  UNROLL for (int i = 0; i < WQ; i++) {
    const int at = min(lid + i * WG, QUADS - 1);
    const __global uchar* base = matrix + (long)min(n0 / 16 + at / (QUADS / 4), panels - 1) * packed_panel_bytes(k);
    words[i] = (const __global uint4*)base + lid % 4;
#if WT >= 3
    scales[i] = base + (long)lines * 64;
#endif
  }
  float xv[XQ];
  uint4 q[WQ];
#define LOAD(step)                                                                                \
  {                                                                                               \
    const int kk = (step)*TK + xk, kc = min(kk, k - 1);                                           \
    UNROLL for (int i = 0; i < XQ; i++) {                                                         \
      const float v = ((const __global float*)x_at[xr + i * (WG / TK)])[kc];                      \
      xv[i] = kk < k ? v : 0.0f;                                                                  \
    }                                                                                             \
    UNROLL for (int i = 0; i < WQ; i++) {                                                         \
      const int line = min((step) * (TK / P) + line0, lines - 1);                                 \
      q[i] = words[i][(long)line * 4];                                                            \
      LOAD_SCALE                                                                                  \
    }                                                                                             \
  }
#if WT >= 3
#define LOAD_SCALE scale[i] = load_scale(scales[i], line, lid % 4);
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
      if (at < QUADS) UNROLL_P for (int p = 0; p < P; p++) {
          float4 v = weight4(q[i], p);
#if WT >= 3
          v *= scale4(scale[i]);
#endif
          *(__local float4*)(wt + (line0 * P + p) * 64 + at / (QUADS / 4) * 16 + at % 4 * 4) = v;
        }
    }
    wg_barrier();
    LOAD(min(step + 1, steps - 1))
    ROLLED for (int kk = 0; kk < TK; kk++) {
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
  const int o = n0 + tx * 4, left = n - o;
  ROLLED for (int i = 0; i < 8; i++) {
    const int r = ty * 8 + i;
    float4 v = acc[0];
    UNROLL for (int j = 0; j < 7; j++) acc[j] = acc[j + 1];  // so that the rows' stores stay a loop: unrolled they spill registers
    __global float* to = y + y_at[r] + o;
    if (r < task.z) {
      if (has_bias) {
        const __global float* b = bias + (long)task.x * n + o;
        v += (float4)(left > 0 ? b[0] : 0.0f, left > 1 ? b[1] : 0.0f, left > 2 ? b[2] : 0.0f, left > 3 ? b[3] : 0.0f);
      }
      if (left > 0) to[0] = v.x;
      if (left > 1) to[1] = v.y;
      if (left > 2) to[2] = v.z;
      if (left > 3) to[3] = v.w;
    }
  }
}
