// FusedGemv (fused_gemv.h): a work-group makes the inputs of one part of K, and takes a run of panels with them. Its warps share
// the lines of a panel; blocks of a panel that come next are on their way while one is multiplied, the first ones while earlier
// phases end. The matrix instructions of mma.clh multiply, of whose eight columns two are used: for the halves of a warp's lines.
// They add up what lanes have, and are a tenth of the code that multiplies number by number, which a phase runs but once.
//   INPUT    FusedGemv::Input
//   GATED_Y  FusedGemv::gated_y: panels come in pairs, of the first and of the second half of the outputs
//   ACT      an ACT of act.clh, where there is one
//   WHOLE    parts are whole blocks, and MADE is exact
//   X_W, H_W which norms there are. (Known here, since barriers in branches are what compilers for CPUs trip over; on NVIDIA
//            known when it runs, so that more phases have the same code.)
//   X_PARTS  of x, at most
//   LOADS    lines of a work-item and block; COUNT: blocks of a panel's part
//   MADE     512ths of the inputs that a work-group makes, rounded up: all of them for norms, else those of a part
#include "phase.clh"
#include "mma.clh"
#if INPUT == 1 || GATED_Y
#define FAST_ACT 1
#include "act.clh"
#endif
#define AHEAD 2                                // blocks on their way
#define STEP (WIDE_WG / 4)                     // lines that the work-group loads at once
#define STEPS ((LOADS + 1) / 2)                // of 16 inputs of each half of a warp's lines
#define BLOCK (LOADS * STEP)
#define PART_X (COUNT * BLOCK * 2)             // inputs of a part, zeros at the end
#define ROWS (WIDE_WG / 16)                    // of 16 sums of a panel: of the halves of all warps
#define TURN (GATED_Y ? 2 : 1)                 // panels whose sums are needed at the same time
#define SUMS (2 * TURN * ROWS * 16)            // of those and the next
#define NORM_FLOATS (X_HW == 2 ? 16 : WIDE_WG + 32)  // of a norm, of which there are two
#define FLOATS (PART_X / 2 + (SUMS > 2 * NORM_FLOATS ? SUMS : 2 * NORM_FLOATS))
#define LOCALS (FLOATS + (X_HW == 0 ? WIDE_WG * 8 : 0))
#if X_HW == 2
#define HAS_X_W a->has_x_w
#define HAS_H_W a->has_h_w
#else
#define HAS_X_W X_W
#define HAS_H_W H_W
#endif
#define EACH_INPUT UNROLL for (int e = 0; e < MADE; e++)
#define AT(e) (tid + (e) * WIDE_WG)
#define BELOW(e, n) (WHOLE || AT(e) < (n))

typedef struct {
  ulong x, sum, up, x_w, from, r, scale, h_w, h, w, bias, y;
  long x_stride, y_stride;
  int x_parts, has_x_w, has_h_w, has_sum, has_scale, has_h, has_bias, k, n, lines, part_lines;
  int groups, panels_each, panels_more;   // of a part; panels, or pairs of them, of each, and how many have one more
  float limit, eps, w_offset, mean, by_groups;  // 1 / k, 1 / groups
} fused_gemv_args;

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
FN void norm_inputs(float* v, const float* weights, float offset, int k, float mean, float eps, __local float* part) {
  const int tid = wide_item();
  float s = 0.0f;
  EACH_INPUT s = fma(v[e], v[e], s);
  const float f = rsqrt(wide_sum(part, s) * mean + eps);
  EACH_INPUT v[e] = BELOW(e, k) ? v[e] * f * (weights[e] + offset) : 0.0f;
}
#endif
// Of part p, nothing where that is not there. (Loads behind branches wait for each other on NVIDIA.)
#if X_HW == 2
FN float load_part(const __global float* x, int p, int parts) {
  float v;
  asm volatile("{.reg .pred p; setp.lt.s32 p, %2, %3; mov.f32 %0, 0f00000000; @p ld.global.f32 %0, [%1];}" : "=f"(v) : "l"(x), "r"(p), "r"(parts));
  return v;
}
#else
FN float load_part(const __global float* x, int p, int parts) { return p < parts ? *x : 0.0f; }
#endif
// Output lane % 16 of a panel, of which a warp has each twice.
FN float sum_rows(const __local float* rows, int lane) {
#if X_HW == 2
  float4 sum = (float4)(0.0f);
  UNROLL for (int r = 0; r < ROWS / 2; r += 4) sum += (float4)(rows[r * 32 + lane], rows[r * 32 + 32 + lane], rows[r * 32 + 64 + lane], rows[r * 32 + 96 + lane]);
  const float half_ = (sum.x + sum.y) + (sum.z + sum.w);
  return half_ + from_lane(half_, 16);
#else
  float sum = 0.0f;
  for (int r = 0; r < ROWS; r++) sum += rows[r * 16 + lane % 16];
  return sum;
#endif
}

// Block `sub` of a panel, whose first line for this lane is at `first`.
#define LOAD_BLOCK(load, to, first, sub, real)                                                                         \
  {                                                                                                                    \
    const __global uint4* from_ = words + (first);                                                                     \
    EACH for (int l = 0; l < LOADS; l++) to[l] = load(from_ + (WHOLE ? l * 4 : min(l * 4, last_line - (sub) * BLOCK)) * 4, real, to[l]); \
  }
// The next block of the share. Of pairs, panels of the first half come before those of the second one.
#define NEXT_BLOCK()                                                                                                   \
  {                                                                                                                    \
    if (COUNT > 1 && ++next_sub < COUNT) at += BLOCK * 4;                                                              \
    else next_sub = 0, at += GATED_Y && (other_half ^= 1) ? to_other : to_next;                                        \
  }
// The blocks after the first one, behind the numbers of x: all blocks at once would stand in the way of those, and before that of
// the counter that work-groups wait for.
#define LOAD_REST                                                                                                      \
  wide_barrier();                                                                                                      \
  UNROLL for (int s = 1; s < AHEAD; s++) LOAD_BLOCK(stream_16_here, next[s], ats[s], subs[s], s < blocks)
// What the halves of the warp's lines of a block are multiplied with.
#define INPUTS_OF(sub)                                                                                                 \
  EACH for (int s_ = 0; s_ < STEPS; s_++) {                                                                            \
    const __local uint* from_ = xs + (sub) * BLOCK + warp_line + lane / 4 % 2 * (4 * LOADS) + s_ * 8 + lane % 4;       \
    by[s_] = (uint2)(from_[0], 2 * s_ + 1 < LOADS ? from_[4] : 0u);                                                    \
  }

FN void fused_gemv_body(PHASE_ARGS fused_gemv_args* a, Groups g, __local float* mem, Wait w) {
  __local uint* xs = (__local uint*)mem;
  __local float* sums = mem + PART_X / 2;
#if X_HW == 0
  __local uint* sgx_ = (__local uint*)(mem + FLOATS);
#endif
  const int tid = wide_item(), lane = tid % WARP, warp = tid / WARP, warp_line = warp * (8 * LOADS);
  const int lines = a->lines, groups = a->groups, k = a->k;
  const __global uint4* words = (const __global uint4*)a->w;
  const __global float* x = (const __global float*)a->x;
  const long x_stride = a->x_stride;
  const int part_inputs = a->part_lines * 2, x_parts = a->x_parts, has_sum = a->has_sum, has_h = a->has_h;
#if INPUT == 2
  const __global float* from = (const __global float*)a->from;
#endif
#if INPUT == 2
  const float mean = a->mean, eps = a->eps, offset = a->w_offset;
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
    const int lane_line = first_line + warp_line + lane / 16 * (4 * LOADS) + lane % 4, last_line = lines - 1 - lane_line;
    const int to_panel = lines * 4, to_half = GATED_Y ? a->n / 16 * to_panel : 0, back = (COUNT - 1) * BLOCK * 4, to_next = to_panel - to_half - back, to_other = to_half - back;
    uint at = (uint)(begin / TURN * to_panel + lane_line * 4 + lane / 4 % 4);
    int next_sub = 0, other_half = 0;
    uint4 next[AHEAD][LOADS];
    uint ats[AHEAD];
    int subs[AHEAD];
    UNROLL for (int s = 0; s < AHEAD; s++) {
      UNROLL for (int l = 0; l < LOADS; l++) next[s][l] = (uint4)(0u);
      ats[s] = at, subs[s] = next_sub;
      NEXT_BLOCK()
    }
    LOAD_BLOCK(stream_16_if, next[0], ats[0], subs[0], blocks > 0)
#if INPUT == 2
    // Nothing is done with them before the wait: the work-group would stand still until they are there.
    float x_w[MADE], h_w[MADE];
    EACH_INPUT {
      const int at_ = WHOLE ? AT(e) : min(AT(e), k - 1);
      x_w[e] = ((const __global float*)a->x_w)[at_], h_w[e] = ((const __global float*)a->h_w)[at_];
    }
    const float loaded_scale = *(const __global float*)a->scale;
#endif
    if (first) phase_wait(w);
#ifdef PHASED
    if (!first) wide_barrier();  // what was multiplied last
#endif

    float of[X_PARTS][MADE], v[MADE];
#if INPUT == 2
    {
      float stream[MADE];
      UNROLL for (int p = 0; p < X_PARTS; p++) EACH_INPUT of[p][e] = load_part(x + p * x_stride + (WHOLE ? AT(e) : min(AT(e), k - 1)), p, BELOW(e, k) ? x_parts : 0);
      EACH_INPUT stream[e] = load_part(from + (WHOLE ? AT(e) : min(AT(e), k - 1)), 0, BELOW(e, k));
      LOAD_REST
      EACH_INPUT {
        v[e] = of[0][e];
        UNROLL for (int p = 1; p < X_PARTS; p++) v[e] += of[p][e];
        if (has_sum && i == 0 && BELOW(e, k)) ((__global float*)a->sum)[AT(e)] = v[e];
      }
      if (HAS_X_W) norm_inputs(v, x_w, offset, k, mean, eps, sums);
      const float scale = a->has_scale ? loaded_scale : 1.0f;
      EACH_INPUT {
        v[e] = (v[e] + stream[e]) * scale;
        if (i == 0 && BELOW(e, k)) ((__global float*)a->r)[AT(e)] = v[e];
      }
      if (HAS_H_W) norm_inputs(v, h_w, offset, k, mean, eps, sums + NORM_FLOATS);
      EACH_INPUT {
        if (has_h && i == 0 && BELOW(e, k)) ((__global float*)a->h)[AT(e)] = v[e];
        const int at = AT(e) - first_line * 2;
        if (at >= 0 && at < PART_X) ((__local ushort*)xs)[at] = (ushort)bf_pair(at >= part_inputs ? 0.0f : v[e], 0.0f);
      }
#if !WHOLE
      for (int at = MADE * WIDE_WG - first_line * 2 + tid; at < PART_X; at += WIDE_WG) ((__local ushort*)xs)[at] = 0;
#endif
    }
#else
    {
      const int from = first_line * 2, inputs = min(k - from, part_inputs);
      float up[MADE];
      UNROLL for (int p = 0; p < X_PARTS; p++) EACH_INPUT of[p][e] = load_part(x + p * x_stride + from + (WHOLE ? AT(e) : min(AT(e), inputs - 1)), 0, BELOW(e, inputs));
      EACH_INPUT up[e] = INPUT == 1 ? load_part((const __global float*)a->up + from + (WHOLE ? AT(e) : min(AT(e), inputs - 1)), 0, BELOW(e, inputs)) : 0.0f;
      LOAD_REST
      EACH_INPUT {
        v[e] = of[0][e];
        UNROLL for (int p = 1; p < X_PARTS; p++) v[e] += of[p][e];
        if (has_sum && keeps && BELOW(e, inputs)) ((__global float*)a->sum)[from + AT(e)] = v[e];
#if INPUT == 1
        v[e] = act_gated(ACT, v[e], up[e], a->limit);
#endif
        if (has_h && keeps && BELOW(e, inputs)) ((__global float*)a->h)[from + AT(e)] = v[e];
        if (BELOW(e, PART_X)) ((__local ushort*)xs)[AT(e)] = (ushort)bf_pair(!BELOW(e, inputs) ? 0.0f : v[e], 0.0f);
      }
    }
#endif
    wide_barrier();

    uint2 by[STEPS];
    if (COUNT == 1) INPUTS_OF(0)
    float4 low = (float4)(0.0f), high = (float4)(0.0f);  // of outputs 4 n and 4 n + 1, and the two after them
    const int n = a->n, has_bias = a->has_bias && part == 0;
    __global float* y = (__global float*)a->y + part * a->y_stride;
    int unit = 0, sub = 0;
    for (int b = 0; b < blocks; b += AHEAD) {
      UNROLL for (int s = 0; s < AHEAD; s++) {
        const int live = b + s < blocks, ends = live && sub == COUNT - 1;
        if (X_HW == 2 && !live) continue;
        __local float* rows = sums + unit % (2 * TURN) * (ROWS * 16);
        if (COUNT > 1) INPUTS_OF(sub)
        EACH for (int l = 0; l < LOADS; l += 2) {
          const uint4 q = next[s][l], p = l + 1 < LOADS ? next[s][min(l + 1, LOADS - 1)] : (uint4)(0u);
          low = mma_16816((uint4)(q.x, q.y, p.x, p.y), by[l / 2], low);
          high = mma_16816((uint4)(q.z, q.w, p.z, p.w), by[l / 2], high);
        }
        LOAD_BLOCK(stream_16_if, next[s], at, next_sub, b + s + AHEAD < blocks)
        NEXT_BLOCK()
        if (ends) {
          if (lane % 4 == 0) *(__local float4*)(rows + (warp * 2 + lane / 16) * 16 + lane / 4 % 4 * 4) = lane < 16 ? (float4)(low.x, low.z, high.x, high.z) : (float4)(low.y, low.w, high.y, high.w);
          low = high = (float4)(0.0f);
        }
        wide_barrier();
        if (ends && unit % TURN == TURN - 1 && warp == unit / TURN % 16) {
          const int o = (begin + unit) / TURN * 16 + lane % 16;
          float sum = sum_rows(rows, lane) + (has_bias ? ((const __global float*)a->bias)[min(o, n - 1) + (TURN - 1) * n] : 0.0f);
#if GATED_Y
          sum = act_gated(ACT, sum_rows(rows - ROWS * 16, lane) + (has_bias ? ((const __global float*)a->bias)[o] : 0.0f), sum, a->limit);
#endif
          if (lane < 16 && o < n) y[o] = sum;
        }
        if (live && ++sub == COUNT) sub = 0, unit++;
      }
    }
  }
}
WIDE_KERNEL(fused_gemv, LOCALS)
