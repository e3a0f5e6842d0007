// Few rows: a work-group reads one panel of 16 outputs once for ROWS rows of x, each work-item a quarter of a line; the
// next block's words are on their way while one is multiplied.
#include "shim.clh"
#include "rows.clh"
#include "packed.clh"
#include "routed.clh"
#define WG 256
#define TEAM (WG / 4)                            // lines that the group loads at once
#define LOADS (ROWS == 8 ? (WT >= 3 ? 1 : 2) : ROWS == 4 && WT >= 3 ? 2 : 4)  // of a work-item and block; more spill registers
#define BLOCK (TEAM * LOADS)                     // lines
#define WISH (4096 / (P * ROWS * BLOCK))         // blocks whose x is kept at a time
#define CHUNK ((WISH > 0 ? WISH : 1) * BLOCK)    // lines
#define CK (CHUNK * P)
#define LOCALS (CK > WG * 4 ? CK * ROWS : WG * 4 * ROWS)
#define PV (P < 4 ? P : 4)

#if P == 1
#define MAC(w, x, acc) fma(w[0], (float4)(*(x)), acc)
#elif P == 2
FN float4 mac2(float4 w0, float4 w1, float2 x, float4 acc) { return fma(w1, (float4)(x.y), fma(w0, (float4)(x.x), acc)); }
#define MAC(w, x, acc) mac2(w[0], w[1], *(__local const float2*)(x), acc)
#else
FN float4 mac4(float4 w0, float4 w1, float4 w2, float4 w3, float4 x, float4 acc) {
  return fma(w3, (float4)(x.w), fma(w2, (float4)(x.z), fma(w1, (float4)(x.y), fma(w0, (float4)(x.x), acc))));
}
#define MAC(w, x, acc) mac4(w[0], w[1], w[2], w[3], *(__local const float4*)(x), acc)
#endif

KERNEL(WG)  // of the narrow sub-group: with wider ones some compilers spill registers
void matmul_gemv(__global const float* x, int4 xs, int x_div, __global const uchar* w, long matrix_bytes, __global const float* bias, int has_bias, __global float* y, int4 ys,
                 int rows, int n, int k, int round_x, int route, __global const int* ids, __global const int* order, __global const int4* tasks, int part_lines, long part_stride) {
  __local float s[LOCALS] __attribute__((aligned(16)));
  __local long x_at[ROWS];
  const int lid = (int)get_local_id(0), quad = lid & 3, team = lid >> 2, panel = (int)get_group_id(0), part = (int)get_group_id(2);
  const int4 task = task_of(route, (int)get_group_id(1), ROWS, rows, ids, tasks);
  const int lines = packed_lines(k), begin = part * part_lines, end = task.z > 0 ? min(lines, begin + part_lines) : begin;
  const __global uchar* base = w + (long)task.x * matrix_bytes + (long)panel * packed_panel_bytes(k);
  const __global uint4* words = (const __global uint4*)base + quad;
  float4 acc[ROWS];
  UNROLL for (int r = 0; r < ROWS; r++) acc[r] = (float4)(0.0f);
  uint4 next[LOADS];
#if WT >= 3
  const __global uchar* scales = base + (long)lines * 64;
  scale_word next_scale[LOADS];
#endif
  UNROLL for (int u = 0; u < LOADS; u++) {
    const int line = min(begin + u * TEAM + team, lines - 1);
    next[u] = words[(long)line * 4];
#if WT >= 3
    next_scale[u] = load_scale(scales, line, quad);
#endif
  }
  if (lid < ROWS) x_at[lid] = ROW(x, xs, task_row(route, task, lid, order) / x_div) - x;
  wg_barrier();
  for (int c = begin; c < end; c += CHUNK) {
    const int k_end = min(k, end * P) - c * P;  // of this chunk; zeros after it
    UNROLL for (int r = 0; r < ROWS; r++)
      for (int i = lid; i < CK; i += WG) {
        const float v = i < k_end ? x[x_at[r] + (long)c * P + i] : 0.0f;
        s[r * CK + i] = round_x ? bf2f(f2bf(v)) : v;
      }
    wg_barrier();
    const int c_end = min(end, c + CHUNK);
    for (int b = c; b < c_end; b += BLOCK) {
      uint4 q[LOADS];
#if WT >= 3
      scale_word q_scale[LOADS];
#endif
      UNROLL for (int u = 0; u < LOADS; u++) {
        const int line = min(b + BLOCK + u * TEAM + team, lines - 1);
        q[u] = next[u];
        next[u] = words[(long)line * 4];
#if WT >= 3
        q_scale[u] = next_scale[u];
        next_scale[u] = load_scale(scales, line, quad);
#endif
      }
      UNROLL for (int u = 0; u < LOADS; u++) {
        __local const float* xk = s + (b - c + u * TEAM + team) * P;
#if WT >= 3
        float4 sum[ROWS];
        UNROLL for (int r = 0; r < ROWS; r++) sum[r] = (float4)(0.0f);
#else
#define sum acc
#endif
        UNROLL for (int h = 0; h < P; h += PV) {
          float4 wv[PV];
          UNROLL for (int p = 0; p < PV; p++) wv[p] = weight4(q[u], h + p);
          UNROLL for (int r = 0; r < ROWS; r++) sum[r] = MAC(wv, xk + r * CK + h, sum[r]);
        }
#if WT >= 3
        const float4 scale = scale4(q_scale[u]);
        UNROLL for (int r = 0; r < ROWS; r++) acc[r] = fma(sum[r], scale, acc[r]);
#endif
      }
    }
    wg_barrier();
  }
  __local float4* sums = (__local float4*)s;
  UNROLL for (int r = 0; r < ROWS; r++) sums[r * WG + lid] = acc[r];
  wg_barrier();
  for (int half_ = WG / 2; half_ >= 4; half_ /= 2) {
    if (lid < half_) UNROLL for (int r = 0; r < ROWS; r++) sums[r * WG + lid] += sums[r * WG + lid + half_];
    wg_barrier();
  }
  const int r = lid / 16, o = panel * 16 + lid % 16;
  if (r < min(task.z, ROWS) && o < n) {
    const float v = s[r * WG * 4 + lid % 16];
    ROW(y, ys, task_row(route, task, r, order))[part * part_stride + o] = has_bias ? v + bias[(long)task.x * n + o] : v;
  }
}
