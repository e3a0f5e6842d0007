// Up to ROWS rows of x rounded to bf16 on the matrix instructions of mma.clh, with bf16 weights. The warps of a work-group that
// has a compute unit to itself share a part of K: each keeps its slice of x as fragments of B, and has the weights of panels
// on their way to its registers long before their turn, the first ones while earlier phases end. What the warps have of
// a panel's outputs is added up through local memory, of which there are two pieces in turn: a barrier a panel.
//   ROWS 8 or 16; STEPS of 16 inputs a warp has at most; GATED: x is act(x) * up, act an ACT of act.clh
//   GATED_Y: y is act(first half of the outputs) * second half; n outputs then, of panels that come in pairs, one of each half
//   WHOLE: K is whole steps, and rows of x, up and y are aligned to 16 bytes
#define WT 0
#include "phase.clh"
#include "mma.clh"
#include "packed.clh"
#if GATED || GATED_Y
#define FAST_ACT 1  // what is made is rounded to bfloat16
#include "act.clh"
#endif
#define WARPS (WIDE_WG / WARP)
#define HALVES (ROWS / 8)                                // fragments of x for one of weights
#define DEPTH (STEPS <= 3 ? 4 : STEPS <= 6 ? 2 : 1)      // panels whose weights are on their way
#define ROW_SUMS 20                                      // floats between rows of sums, so that banks differ
#define SUMS (X_HW == 0 && ROWS < 16 ? WIDE_WG * 8 : WARPS * ROWS * ROW_SUMS)  // emulation needs as much, before them
#define BARRIERS_IN_ORDER (X_HW != 2)                    // barriers in a branch are what compilers for CPUs trip over
#define QUADS (ROWS * 4)                                 // of a panel's results
#define TURN (GATED_Y ? 2 : 1)                           // panels whose results make one
// The first half's of a turn, which their work-items keep.
#define GATES (2 * SUMS + 4)

typedef struct {
  ulong x; int4 xs; ulong up; int4 us; float limit; ulong w, bias; int has_bias; ulong y; int4 ys;
  int rows, n, k, run_panels, parts, part_steps; ulong sums, counters;
} matmul_wide_args;

#if X_HW == 2
#define wide_group_barrier() wide_barrier()  // for memory of all kinds
#define wide_loads_first() asm volatile("bar.warp.sync 0xffffffff;" ::: "memory")  // those before this are not put off until they are used
#define wide_prefetch(p) asm volatile("prefetch.global.L2 [%0];" :: "l"(p) : "memory")  // a line of 128 bytes
#else
#define wide_loads_first()
#define wide_prefetch(p)
#define wide_group_barrier() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#endif

// Inputs k0, k0 + 1, k0 + 8 and k0 + 9 of a row; the last one instead of those past the end.
FN float4 wide_quad(const __global float* x, int k0, int k) {
#if WHOLE
  const float2 lo = *(const __global float2*)(x + k0), hi = *(const __global float2*)(x + k0 + 8);
  return (float4)(lo.x, lo.y, hi.x, hi.y);
#else
  return (float4)(x[min(k0, k - 1)], x[min(k0 + 1, k - 1)], x[min(k0 + 8, k - 1)], x[min(k0 + 9, k - 1)]);
#endif
}
// The same rounded, zeros past the end.
FN uint2 wide_round(float4 v, int k0, int k) {
#if !WHOLE
  v.x = k0 < k ? v.x : 0.0f, v.y = k0 + 1 < k ? v.y : 0.0f;
  v.z = k0 + 8 < k ? v.z : 0.0f, v.w = k0 + 9 < k ? v.w : 0.0f;
#endif
  return (uint2)(bf_pair(v.x, v.y), bf_pair(v.z, v.w));
}

FN float4 wide_bias(PHASE_ARGS matmul_wide_args* a, int o, int last) {
  const __global float* bias = (const __global float*)a->bias;
  return a->has_bias ? (float4)(bias[min(o, last)], bias[min(o + 1, last)], bias[min(o + 2, last)], bias[min(o + 3, last)]) : (float4)(0.0f);
}
// Outputs o to o + 3, of the second half if there are two.
FN void wide_store(PHASE_ARGS matmul_wide_args* a, int row, int o, float4 gate, float4 v) {
  v += wide_bias(a, o + (TURN - 1) * a->n, TURN * a->n - 1);
#if GATED_Y
  gate += wide_bias(a, o, a->n - 1);
  v.x = act_gated(ACT, gate.x, v.x, a->limit), v.y = act_gated(ACT, gate.y, v.y, a->limit);
  v.z = act_gated(ACT, gate.z, v.z, a->limit), v.w = act_gated(ACT, gate.w, v.w, a->limit);
#endif
  __global float* y = ROW((__global float*)a->y, a->ys, row) + o;
  if (WHOLE && o + 4 <= a->n) {
    *(__global float4*)y = v;
  } else {
    if (o < a->n) y[0] = v.x;
    if (o + 1 < a->n) y[1] = v.y;
    if (o + 2 < a->n) y[2] = v.z;
    if (o + 3 < a->n) y[3] = v.w;
  }
}

// Four numbers of all parts, which lie stride apart.
FN float4 wide_parts(const volatile __global float4* from, int parts, long stride) {
  float4 sum = (float4)(0.0f);
  for (int j = 0; j < parts; j += 4, from += 4 * stride) {
    const int left = parts - 1 - j;
    const float4 v0 = from[0], v1 = from[min(1, left) * stride], v2 = from[min(2, left) * stride], v3 = from[min(3, left) * stride];
    sum += v0;
    sum += left >= 1 ? v1 : (float4)(0.0f);
    sum += left >= 2 ? v2 : (float4)(0.0f);
    sum += left >= 3 ? v3 : (float4)(0.0f);
  }
  return sum;
}
// Panels [panel, end) from the sums of all parts.
FN void wide_sum(PHASE_ARGS matmul_wide_args* a, int panel, int end) {
  const int quads = (end - panel) / TURN * 4, line = (a->n + 15) / 16 * TURN * 4;
  const long stride = (long)a->rows * line;
  for (int i = wide_item(); i < quads * a->rows; i += WIDE_WG) {
    const int row = i / quads, quad = i % quads, at = panel * 4 + quad / 4 * TURN * 4 + quad % 4;
    const volatile __global float4* from = (const volatile __global float4*)a->sums + (long)row * line + at;
    float4 gate = (float4)(0.0f);
#if GATED_Y
    gate = wide_parts(from, a->parts, stride);
    from += 4;
#endif
    wide_store(a, row, (panel / TURN * 4 + quad) * 4, gate, wide_parts(from, a->parts, stride));
  }
}

FN void matmul_wide_body(PHASE_ARGS matmul_wide_args* a, Groups gs, __local float* mem, Wait wait) {
  const int lid = wide_item(), lane = lid % WARP, warp = lid / WARP, g = lane / 4, t = lane % 4;
  const int k = a->k, lines = packed_lines(k), steps = (k + 15) / 16, panels = (a->n + 15) / 16 * TURN, split = a->parts > 1;
  const long panel_bytes = packed_panel_bytes(k);
#if GATED_Y  // panels count pairs through
  const long half_bytes = panels / 2 * panel_bytes;
#define WIDE_PANEL(i) ((i) / 2 * panel_bytes + (i) % 2 * half_bytes)
#define WIDE_NEXT(i) next += (i) % 2 ? panel_bytes - half_bytes : half_bytes
#else
#define WIDE_PANEL(i) ((i) * panel_bytes)
#define WIDE_NEXT(i) next += panel_bytes
#endif
  uint2 w[DEPTH][2 * STEPS];
  EACH for (int d = 0; d < DEPTH; d++) EACH for (int s = 0; s < 2 * STEPS; s++) w[d][s] = (uint2)(0u);
  // Of the run at gs.first: its panels and part, this warp's first step and how many it has.
  int panel = 0, end = 0, part = 0, first = 0, count = 0;
  const __global uchar* next = (const __global uchar*)a->w;  // the weights to ask for next
#if WHOLE
#define WIDE_LINE(s, j) ((s) * 512 + (j) * 256)
#else
  int room = 0;  // to the last line
#define WIDE_LINE(s, j) min((s) * 512 + (j) * 256, room)
#endif
#define WIDE_STEP(d, s, real)                                                                              \
  w[d][2 * (s)] = stream_8_if(next + WIDE_LINE(s, 0), (s) < count && (real), w[d][2 * (s)]);               \
  w[d][2 * (s) + 1] = stream_8_if(next + WIDE_LINE(s, 1), (s) < count && (real), w[d][2 * (s) + 1]);
#define WIDE_RUN(i)                                                                                         \
  {                                                                                                         \
    const int3 at = group_at(gs, i);                                                                        \
    const int part_end = min(steps, (at.z + 1) * a->part_steps), per = (a->part_steps + WARPS - 1) / WARPS; \
    part = at.z, panel = at.x * a->run_panels, end = min(panels, panel + a->run_panels);                    \
    first = part * a->part_steps + warp * per, count = max(0, min(per, part_end - first));                  \
    next = (const __global uchar*)a->w + WIDE_PANEL(panel) + (first * 8 + t) * 64 + g * 8;                    \
    WIDE_ROOM                                                                                               \
    EACH for (int d = 0; d < DEPTH; d++) {                                                                  \
      EACH for (int s = 0; s < STEPS; s++) { WIDE_STEP(d, s, panel + d < end) }                             \
      WIDE_NEXT(d);                                                                                         \
    }                                                                                                       \
  }
#if WHOLE
#define WIDE_ROOM
#else
#define WIDE_ROOM room = (lines - 1 - first * 8 - t) * 64;
#endif
  if (gs.first < gs.count) WIDE_RUN(gs.first)
  if (panel + DEPTH < end) {  // one more on its way to the cache, while registers are full
    const int begin = part * a->part_steps * 8, bytes = (min(lines, begin + a->part_steps * 8) - begin) * 64;
    if (lid * 128 < bytes) wide_prefetch((const __global uchar*)a->w + WIDE_PANEL(panel + DEPTH) + (long)begin * 64 + lid * 128);
  }
  phase_wait(wait);

  int turn = 0;  // of panels so far: which sums, and who adds them up
  for (int i = gs.first; i < gs.count; i += gs.step) {
    uint2 b[STEPS][HALVES];
    // Without branches, so that all numbers of a fragment's rows are asked for before the first is waited for.
    const int k0 = min(first, steps - 1) * 16 + 2 * t;
    EACH for (int h = 0; h < HALVES; h++) {
      const int row = min(h * 8 + g, a->rows - 1);
      const __global float* x = ROW((const __global float*)a->x, a->xs, row);
      float4 v[STEPS];
      EACH for (int s = 0; s < STEPS; s++) v[s] = wide_quad(x, k0 + (s < count ? s * 16 : 0), k);
#if GATED
      const __global float* up = ROW((const __global float*)a->up, a->us, row);
      float4 u[STEPS];
      EACH for (int s = 0; s < STEPS; s++) u[s] = wide_quad(up, k0 + (s < count ? s * 16 : 0), k);
#endif
      wide_loads_first();
#if GATED
      EACH for (int s = 0; s < STEPS; s++) {
        v[s].x = act_gated(ACT, v[s].x, u[s].x, a->limit), v[s].y = act_gated(ACT, v[s].y, u[s].y, a->limit);
        v[s].z = act_gated(ACT, v[s].z, u[s].z, a->limit), v[s].w = act_gated(ACT, v[s].w, u[s].w, a->limit);
      }
#endif
      EACH for (int s = 0; s < STEPS; s++) b[s][h] = s < count ? wide_round(v[s], k0 + s * 16, k) : (uint2)(0u);
    }
    const int begin = panel;
    for (; panel < end; panel += DEPTH) {
      EACH for (int d = 0; d < DEPTH; d++) {
        if (BARRIERS_IN_ORDER || panel + d < end) {
          const int more = panel + d + DEPTH < end;
          __local float* sums = mem + (turn & 1) * SUMS;
#if X_HW == 0
          __local uint* sgx_ = (__local uint*)sums;
#endif
          float4 acc[HALVES];
          EACH for (int h = 0; h < HALVES; h++) acc[h] = (float4)(0.0f);
          EACH for (int s = 0; s < STEPS; s++) {
            const uint4 q = (uint4)(w[d][2 * s].x, w[d][2 * s].y, w[d][2 * s + 1].x, w[d][2 * s + 1].y);
            EACH for (int h = 0; h < HALVES; h++) acc[h] = mma_16816(q, b[s][h], acc[h]);
            WIDE_STEP(d, s, more)
          }
          WIDE_NEXT(DEPTH % 2 ? panel + 1 : d);
          EACH for (int h = 0; h < HALVES; h++) {
            __local float2* to = (__local float2*)(sums + (warp * ROWS + h * 8 + 2 * t) * ROW_SUMS + 2 * g);
            to[0] = acc[h].xz;
            to[ROW_SUMS / 2] = acc[h].yw;
          }
          wide_barrier();
          const int at = (lid - turn / TURN * QUADS) & (WIDE_WG - 1), row = at / 4, o = (panel + d) / TURN * 16 + at % 4 * 4;
          const int up = GATED_Y ? turn % 2 : 1;
          turn++;
          if (at < QUADS && row < a->rows && panel + d < end) {
            const __local float* from = sums + row * ROW_SUMS + at % 4 * 4;
            __local float4* gate = (__local float4*)(mem + GATES) + (GATED_Y ? at : 0);
            float4 v = (float4)(0.0f);
            UNROLL for (int j = 0; j < WARPS; j++) v += *(const __local float4*)(from + j * ROWS * ROW_SUMS);
            if (split) ((__global float4*)a->sums)[((long)part * a->rows + row) * panels * 4 + (panel + d) * 4 + at % 4] = v;
            else if (up) wide_store(a, row, o, GATED_Y ? *gate : v, v);
            else *gate = v;
          }
        }
      }
    }
    if (split) {  // the last part to end adds up all of them
      __local int* last = (__local int*)(mem + 2 * SUMS);
      wide_group_barrier();
      volatile __global int* arrived = (volatile __global int*)a->counters + i % gs.nx;
      if (lid == 0) *last = count_arrival(arrived) == a->parts - 1;
      wide_group_barrier();
      if (*last) {
        wide_sum(a, begin, end);
        if (lid == 0) *arrived = 0;
      }
    }
    if (i + gs.step < gs.count) WIDE_RUN(i + gs.step)
  }
}
WIDE_KERNEL(matmul_wide, GATES + (GATED_Y ? QUADS * 4 : 0))
