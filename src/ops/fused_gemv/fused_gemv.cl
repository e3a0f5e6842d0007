// FusedGemv (fused_gemv.h): a work-group makes the inputs of one part of K, and takes a run of panels with them. Its warps share
// the lines of a panel; blocks of a panel that come next are on their way while one is multiplied, the first ones while earlier
// phases end.
//   INPUT    FusedGemv::Input
//   GATED_Y  FusedGemv::gated_y: panels come in pairs, of the first and of the second half of the outputs
//   ACT      an ACT of act.clh, where there is one
//   WHOLE    parts are whole blocks, and EACH is exact
//   X_W, H_W which norms there are: barriers in branches are what compilers for CPUs trip over
//   X_PARTS  of x
//   LOADS    lines of a work-item and block; COUNT: blocks of a panel's part
//   EACH     512ths of the inputs that a work-group makes, rounded up: all of them for norms, else those of a part
#include "phase.clh"
#if INPUT == 1 || GATED_Y
#define FAST_ACT 1
#include "act.clh"
#endif
#define AHEAD 2                                // blocks on their way
#define STEP (WIDE_WG / 4)                     // lines that the work-group loads at once
#define BLOCK (LOADS * STEP)
#define PART_X (COUNT * BLOCK * 2)             // inputs of a part, zeros at the end
// Rows of 16 sums of a panel: of each warp, or where lanes do not add up, of four work-items.
#if X_HW == 2
#define ROWS 16
#else
#define ROWS STEP
#endif
#define TURN (GATED_Y ? 2 : 1)                 // panels whose sums are needed at the same time
#define SUMS (2 * TURN * ROWS * 16)            // of those and the next
#define NORM_FLOATS (X_HW == 2 ? 16 : WIDE_WG + 32)  // of a norm, of which there are two
#define LOCALS (PART_X + (SUMS > 2 * NORM_FLOATS ? SUMS : 2 * NORM_FLOATS))
#define EACH_INPUT UNROLL for (int e = 0; e < EACH; e++)
#define AT(e) (tid + (e) * WIDE_WG)
#define BELOW(e, n) (WHOLE || AT(e) < (n))

typedef struct {
  ulong x, sum, up, x_w, from, r, scale, h_w, h, w, bias, y;
  long x_stride, y_stride;
  int has_sum, has_scale, has_h, has_bias, k, n, lines, part_lines;
  int groups, panels_each, panels_more;   // of a part; panels, or pairs of them, of each, and how many have one more
  float limit, eps, w_offset, mean, by_groups;  // 1 / k, 1 / groups
  int round_x;
} fused_gemv_args;

#if X_HW == 2
FN uint4 load_weights(const __global uint4* p) {  // stays before the wait
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
#else
#define load_weights(p) LD4(p)
#endif

#if INPUT == 2
// Of all work-items; part is free again behind a barrier.
#if X_HW == 2
FN float wide_sum(__local float* part, float x) {
  const int tid = wide_item();
  UNROLL for (int m = 16; m; m /= 2) x += from_lane(x, m);
  if (tid % 32 == 0) part[tid / 32] = x;
  wide_barrier();
  const __local float4* all = (const __local float4*)part;
  const float4 s = (all[0] + all[1]) + (all[2] + all[3]);
  return (s.x + s.y) + (s.z + s.w);
}
#else
FN float wide_sum(__local float* part, float x) {
  const int tid = wide_item();
  part[tid] = x;
  wide_barrier();
  if (tid < 32) {
    const __local float4* own = (const __local float4*)part + tid * 4;
    const float4 s = (own[0] + own[1]) + (own[2] + own[3]);
    part[WIDE_WG + tid] = (s.x + s.y) + (s.z + s.w);
  }
  wide_barrier();
  const __local float4* all = (const __local float4*)(part + WIDE_WG);
  float4 s = all[0];
  UNROLL for (int i = 1; i < 8; i++) s += all[i];
  return (s.x + s.y) + (s.z + s.w);
}
#endif
FN void norm_inputs(float* v, const float* weights, PHASE_ARGS fused_gemv_args* a, __local float* part) {
  const int tid = wide_item();
  float s = 0.0f;
  EACH_INPUT s = fma(v[e], v[e], s);
  const float f = rsqrt(wide_sum(part, s) * a->mean + a->eps);
  EACH_INPUT v[e] = BELOW(e, a->k) ? v[e] * f * (weights[e] + a->w_offset) : 0.0f;
}
#endif
// Output o, at lane of its panel.
FN float sum_rows(const __local float* rows, int lane, PHASE_ARGS fused_gemv_args* a, int o, int part) {
  float sum = a->has_bias && part == 0 ? ((const __global float*)a->bias)[o] : 0.0f;
  for (int j = 0; j < ROWS; j += 16) UNROLL for (int r = 0; r < 16; r++) sum += rows[(j + r) * 16 + lane];
  return sum;
}
FN float rounded(PHASE_ARGS fused_gemv_args* a, float v) { return a->round_x ? bf2f(f2bf(v)) : v; }

// The next block of the share. Of pairs, panels of the first half come before those of the second one.
#if GATED_Y
#define PANEL_OF(i) ((i) / 2 + (i) % 2 * (a->n / 16))
#else
#define PANEL_OF(i) (i)
#endif
#define LOAD_BLOCK(to)                                                                                                 \
  {                                                                                                                    \
    const int line_ = first_line + next_sub * BLOCK + tid / 4;                                                  \
    const __global uint4* panel_ = words + (long)PANEL_OF(begin + next_unit) * lines * 4 + tid % 4;                     \
    UNROLL for (int l = 0; l < LOADS; l++) to[l] = load_weights(panel_ + (WHOLE ? line_ + l * STEP : min(line_ + l * STEP, lines - 1)) * 4); \
    if (++next_sub == COUNT) next_sub = 0, next_unit++;                                                                \
  }

FN void fused_gemv_body(PHASE_ARGS fused_gemv_args* a, Groups g, __local float* mem, Wait w) {
  __local float *xs = mem, *sums = mem + PART_X;
  const int tid = wide_item(), lane = tid % 32, warp = tid / 32;
  const int lines = a->lines, groups = a->groups, k = a->k;
  const __global uint4* words = (const __global uint4*)a->w;
  const __global float* x = (const __global float*)a->x;
#if INPUT == 2
  float x_w[EACH], h_w[EACH];
  EACH_INPUT {
    const int at = WHOLE ? AT(e) : min(AT(e), k - 1);
    x_w[e] = X_W ? ((const __global float*)a->x_w)[at] : 1.0f;
    h_w[e] = H_W ? ((const __global float*)a->h_w)[at] : 1.0f;
  }
  const float by = a->has_scale ? *(const __global float*)a->scale : 1.0f;
#endif
  for (int i = g.first, first = 1; i < g.count || first; i += g.step, first = 0) {
#if X_HW == 2
    if (i >= g.count) {
      phase_wait(w);
      break;
    }
#endif
    const int mine = min(i, g.count - 1);  // elsewhere whoever has nothing to multiply comes by every barrier all the same
    const int part = (int)(((float)mine + 0.5f) * a->by_groups), share = mine - part * groups, first_line = part * a->part_lines, keeps = share == 0 && i == mine;
    const int begin = TURN * (share * a->panels_each + min(share, a->panels_more)), units = i < g.count ? TURN * (a->panels_each + (share < a->panels_more)) : 0, blocks = units * COUNT;
    int next_unit = 0, next_sub = 0;
    uint4 next[AHEAD][LOADS];
    UNROLL for (int s = 0; s < AHEAD; s++) {
      UNROLL for (int l = 0; l < LOADS; l++) next[s][l] = (uint4)(0u);
      if (s < blocks) LOAD_BLOCK(next[s])
    }
    if (first) phase_wait(w);
#ifdef PHASED
    if (!first) wide_barrier();  // what was multiplied last
#endif

    float of[X_PARTS][EACH], v[EACH];
#if INPUT == 2
    {
      float stream[EACH];
      UNROLL for (int p = 0; p < X_PARTS; p++) EACH_INPUT of[p][e] = BELOW(e, k) ? x[p * a->x_stride + AT(e)] : 0.0f;
      EACH_INPUT stream[e] = BELOW(e, k) ? ((const __global float*)a->from)[AT(e)] : 0.0f;
      EACH_INPUT {
        v[e] = of[0][e];
        UNROLL for (int p = 1; p < X_PARTS; p++) v[e] += of[p][e];
        if (a->has_sum && i == 0 && BELOW(e, k)) ((__global float*)a->sum)[AT(e)] = v[e];
      }
#if X_W
      norm_inputs(v, x_w, a, sums);
#endif
      EACH_INPUT {
        v[e] = (v[e] + stream[e]) * by;
        if (i == 0 && BELOW(e, k)) ((__global float*)a->r)[AT(e)] = v[e];
      }
#if H_W
      norm_inputs(v, h_w, a, sums + NORM_FLOATS);
#endif
      EACH_INPUT {
        if (a->has_h && i == 0 && BELOW(e, k)) ((__global float*)a->h)[AT(e)] = v[e];
        const int at = AT(e) - first_line * 2;
        if (at >= 0 && at < PART_X) xs[at] = at >= a->part_lines * 2 ? 0.0f : rounded(a, v[e]);
      }
      for (int at = EACH * WIDE_WG - first_line * 2 + tid; at < PART_X; at += WIDE_WG) xs[at] = 0.0f;
    }
#else
    {
      const int from = first_line * 2, inputs = min(k - from, a->part_lines * 2);
      float up[EACH];
      UNROLL for (int p = 0; p < X_PARTS; p++) EACH_INPUT of[p][e] = BELOW(e, inputs) ? x[p * a->x_stride + from + AT(e)] : 0.0f;
      EACH_INPUT up[e] = INPUT == 1 && BELOW(e, inputs) ? ((const __global float*)a->up)[from + AT(e)] : 0.0f;
      EACH_INPUT {
        v[e] = of[0][e];
        UNROLL for (int p = 1; p < X_PARTS; p++) v[e] += of[p][e];
        if (a->has_sum && keeps && BELOW(e, inputs)) ((__global float*)a->sum)[from + AT(e)] = v[e];
#if INPUT == 1
        v[e] = act_gated(ACT, v[e], up[e], a->limit);
#endif
        if (a->has_h && keeps && BELOW(e, inputs)) ((__global float*)a->h)[from + AT(e)] = v[e];
        if (BELOW(e, PART_X)) xs[AT(e)] = !BELOW(e, inputs) ? 0.0f : rounded(a, v[e]);
      }
    }
#endif
    wide_barrier();

    float4 acc = (float4)(0.0f);
    int unit = 0, sub = 0;
    for (int b = 0; b < blocks; b += AHEAD) {
      UNROLL for (int s = 0; s < AHEAD; s++) {
        const int live = b + s < blocks, ends = live && sub == COUNT - 1;
        __local float* rows = sums + unit % (2 * TURN) * (ROWS * 16);
        if (live) {
          const __local float2* by_x = (const __local float2*)xs + sub * BLOCK + tid / 4;
          UNROLL for (int l = 0; l < LOADS; l++) {
            const float2 f = by_x[l * STEP];
            const uint4 q = next[s][l];
            acc = fma((float4)(bf_hi(q.x), bf_hi(q.y), bf_hi(q.z), bf_hi(q.w)), (float4)(f.y), fma((float4)(bf_lo(q.x), bf_lo(q.y), bf_lo(q.z), bf_lo(q.w)), (float4)(f.x), acc));
          }
        }
        if (b + s + AHEAD < blocks) LOAD_BLOCK(next[s])
        if (ends) {
#if X_HW == 2
          UNROLL for (int m = 4; m < 32; m *= 2) acc += (float4)(from_lane(acc.x, m), from_lane(acc.y, m), from_lane(acc.z, m), from_lane(acc.w, m));
          if (lane < 4) *(__local float4*)(rows + warp * 16 + lane * 4) = acc;
#else
          *(__local float4*)(rows + tid * 4) = acc;
#endif
          acc = (float4)(0.0f);
        }
        const int complete = ends && unit % TURN == TURN - 1;
        wide_barrier();
        const int o = (begin + unit) / TURN * 16 + lane;
        if (complete && warp == unit / TURN % 16 && lane < 16 && o < a->n) {
          float sum = sum_rows(rows, lane, a, o + (TURN - 1) * a->n, part);
#if GATED_Y
          sum = act_gated(ACT, sum_rows(rows - ROWS * 16, lane, a, o, part), sum, a->limit);
#endif
          ((__global float*)a->y)[part * a->y_stride + o] = sum;
        }
        if (live && ++sub == COUNT) sub = 0, unit++;
      }
    }
  }
}
WIDE_KERNEL(fused_gemv, LOCALS)
