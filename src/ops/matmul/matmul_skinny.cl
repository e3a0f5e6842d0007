// Up to ROWS rows of x rounded to bf16 on the matrix instructions of mma.clh, at the speed of reading weights: these are the
// fragments of A, as they lie (16 outputs of a panel; lane 4 g + t has outputs 2 g and 2 g + 1 at line t of every four), and
// go from memory to registers once. The warps of a work-group share its part of K, and keep their rows of x as fragments of B
// while it goes from panel to panel; what they have of a panel's outputs is added up through local memory.
//   ROWS 8 or 16; CHUNKS of 32 inputs a warp keeps at a time
#include "phase.clh"
#include "mma.clh"
#include "packed.clh"
#include "routed.clh"
#include "matmul_mma.clh"
#define WG 256
#define WARPS (WG / WARP)
#define HALVES (ROWS / 8)                                              // fragments of x for one of weights
#define DEPTH (CHUNKS % 6 || (WT == 0 && CHUNKS * ROWS > 48) ? 3 : 6)  // chunks of weights on their way to a warp
#define ROW_SUMS 20                                                    // floats between rows of sums, so that banks differ
#define SUMS (WARPS * ROWS * ROW_SUMS)
#define V (P < 4 ? P : 4)                                              // inputs that are neighbours, as a vector
#if WT == 0
#define VFLOAT float2
#define VSTORE vstore2
#else
#define VFLOAT float4
#define VSTORE vstore4
#endif
#define EMULATION (X_HW == 0 ? WG * 8 : 0)

typedef struct {
  ulong x; int4 xs; int x_div; ulong w; long matrix_bytes; ulong bias; int has_bias; ulong y; int4 ys;
  int rows, n, k, route; ulong ids, order, tasks; int run_panels, parts, part_chunks; long part_stride; ulong sums, counters;
} matmul_skinny_args;

// A work-group's panels [panel, end) over one part of K.
typedef struct {
  int4 task;
  int panel, end, part;
} SkinnyRun;
// The first run with rows at range positions i, i + g.step ..: where it is, or at least g.count.
FN int skinny_run(PHASE_ARGS matmul_skinny_args* a, Groups g, int i, SkinnyRun* r) {
  for (; i < g.count; i += g.step) {
    const int3 at = group_at(g, i);
    r->task = task_of(a->route, at.y, ROWS, a->rows, (const __global int*)a->ids, (const __global int4*)a->tasks);
    r->panel = at.x * a->run_panels, r->end = min((a->n + 15) / 16, r->panel + a->run_panels), r->part = at.z;
    if (r->task.z > 0 && r->panel < r->end) break;
  }
  return i;
}
FN const __global uchar* skinny_panel(PHASE_ARGS matmul_skinny_args* a, const SkinnyRun* r) {
  return (const __global uchar*)a->w + (long)r->task.x * a->matrix_bytes + (long)r->panel * packed_panel_bytes(a->k);
}

// This lane's 8 inputs of a chunk; zeros from `end` on. whole: rows are aligned and chunks whole.
FN uint4 skinny_x(const __global float* row, int chunk, int t, int end, int whole) {
  float v[8];
  if (whole) {
    const int at = min(chunk, end / 32 - 1) * 32 + t * P;
    UNROLL for (int j = 0; j < 8; j += V) {
      const int i = at + j / P * (4 * P) + j % P;
      VSTORE(*(const __global VFLOAT*)(row + i), 0, v + j);
    }
  } else {
    UNROLL for (int j = 0; j < 8; j++) {
      const int i = min(chunk * 32 + (j / P * 4 + t) * P + j % P, end - 1);
      v[j] = row[i];
    }
  }
  UNROLL for (int j = 0; j < 8; j++) {
    if (!whole && chunk * 32 + (j / P * 4 + t) * P + j % P >= end) v[j] = 0.0f;
  }
  const uint4 q = round_8(v);
  return chunk * 32 < end ? q : (uint4)(0u);
}

// Scales of outputs 2 g and 2 g + 1 in a chunk. words: of the panel, at this lane's outputs.
#if WT == 4
FN float2 skinny_scales(const __global uchar* words, int lines, int chunk, int g) {
  const uint s = *(const __global ushort*)(words + (long)lines * 64 + chunk * 16 - g * 6), lo = s & 0xffu, hi = s >> 8;
  return (float2)(as_float(lo ? lo << 23 : 0x00400000u), as_float(hi ? hi << 23 : 0x00400000u));
}
#elif WT == 3
FN float2 skinny_scales(const __global uchar* words, int lines, int chunk, int g) { return *(const __global float2*)(words + (long)lines * 64 + chunk / 4 * 64); }
#endif

// Half h of a chunk's weights: 16 inputs.
FN uint4 skinny_weights(const uint2* w, int h) {
#if WT == 4
  return (uint4)(e2m1_pair(w[0].x, 2 * h), e2m1_pair(w[0].y, 2 * h), e2m1_pair(w[0].x, 2 * h + 1), e2m1_pair(w[0].y, 2 * h + 1));
#elif WT == 3
  return (uint4)(e4m3_pair(w[h].x, 0), e4m3_pair(w[h].y, 0), e4m3_pair(w[h].x, 1), e4m3_pair(w[h].y, 1));
#else
  return (uint4)(w[2 * h].x, w[2 * h].y, w[2 * h + 1].x, w[2 * h + 1].y);
#endif
}

// The sums of all parts.
FN void skinny_sum(PHASE_ARGS matmul_skinny_args* a, const SkinnyRun* r) {
  const int first = r->panel * 16, n = min(r->end * 16, a->n) - first, rows = min(r->task.z, ROWS);
  for (int i = (int)get_local_id(0); i < n * rows; i += WG) {
    const int row = r->task.y + i / n, o = first + i % n;
    const volatile __global float* from = (const volatile __global float*)a->sums + (long)row * a->n + o;
    float sum = a->has_bias ? ((const __global float*)a->bias)[o] : 0.0f;
    for (int j = 0; j < a->parts; j += 4, from += 4 * a->part_stride) {
      const int left = a->parts - 1 - j;
      const float v0 = from[0], v1 = from[min(1, left) * a->part_stride], v2 = from[min(2, left) * a->part_stride], v3 = from[min(3, left) * a->part_stride];
      sum += v0;
      sum += left >= 1 ? v1 : 0.0f;
      sum += left >= 2 ? v2 : 0.0f;
      sum += left >= 3 ? v3 : 0.0f;
    }
    ROW((__global float*)a->y, a->ys, row)[o] = sum;
  }
}

FN void matmul_skinny_body(PHASE_ARGS matmul_skinny_args* a, Groups gs, __local float* mem, Wait wait) {
#if X_HW == 0
  __local uint* sgx_ = (__local uint*)mem;
#endif
  const int lid = (int)get_local_id(0), lane = lid % WARP, warp = lid / WARP, g = lane / 4, t = lane % 4;
  const int k = a->k, lines = packed_lines(k), chunks = (k + 31) / 32, per = (a->part_chunks + WARPS - 1) / WARPS, passes = (per + CHUNKS - 1) / CHUNKS, split = a->parts > 1;
  const long panel_bytes = packed_panel_bytes(k);
  const __global float* x = (const __global float*)a->x;
  const __global int* order = (const __global int*)a->order;
  const int whole = k % 32 == 0 && rows_aligned(x, a->xs), early = a->route == ROUTE_ALL;
  SkinnyRun r;
  uint2 w[DEPTH][LINES];
#if WT >= 3
  float2 scales[DEPTH];
#define FETCH_SCALES(slot, from, chunk) scales[slot] = skinny_scales(from, lines, min(chunk, chunks - 1), g);
#else
#define FETCH_SCALES(slot, from, chunk)
#endif
#define FETCH(slot, from, chunk)                                                                                                           \
  {                                                                                                                                        \
    EACH for (int j = 0; j < LINES; j++) w[slot][j] = stream_8((from) + (uint)min(((chunk) * LINES + j) * 4 + t, lines - 1) * 64u);         \
    FETCH_SCALES(slot, from, chunk)                                                                                                        \
  }
  if (!early) phase_wait(wait);
  int i = skinny_run(a, gs, gs.first, &r), first = 0, count = 0;
  const __global uchar* words = 0;  // at this lane's outputs of a panel
  if (i < gs.count) {
    words = skinny_panel(a, &r) + g * 8, first = r.part * a->part_chunks + warp * per, count = min(per, CHUNKS);
    EACH for (int c = 0; c < DEPTH; c++)
      if (c < count) FETCH(c, words, first + c)
  }
  if (early) phase_wait(wait);

  uint4 b[CHUNKS][HALVES];
  int kept_row = -1, kept_part = -1, turn = 0;  // what b holds; which sums
  while (i < gs.count) {
    const int x_end = min(k, (r.part + 1) * a->part_chunks * 32);
    int next_i = i;
    for (int panel = r.panel; panel < r.end; panel++) {
      float4 acc[HALVES];
      EACH for (int h = 0; h < HALVES; h++) acc[h] = (float4)(0.0f);
      for (int pass = 0; pass < passes; pass++) {
        const __global uchar* next_words = words;
        int next_first = first + CHUNKS, next_count = min(per - (pass + 1) * CHUNKS, CHUNKS);
        if (pass + 1 == passes) {
          next_first = first - pass * CHUNKS, next_count = min(per, CHUNKS);
          next_words = words + panel_bytes;
          if (panel + 1 == r.end) {
            SkinnyRun next;
            next_i = skinny_run(a, gs, i + gs.step, &next);
            if (next_i < gs.count) next_words = skinny_panel(a, &next) + g * 8, next_first = next.part * a->part_chunks + warp * per;
            else next_count = 0;
          }
        }
        if (passes > 1 || kept_row != r.task.y || kept_part != r.part) {
          const __global float* row[HALVES];
          EACH for (int h = 0; h < HALVES; h++) row[h] = ROW(x, a->xs, task_row(a->route, r.task, h * 8 + g, order) / a->x_div);
          if (whole) {
            EACH for (int c = 0; c < CHUNKS; c++)
              EACH for (int h = 0; h < HALVES; h++) b[c][h] = skinny_x(row[h], first + c, t, x_end, 1);
          } else {
            EACH for (int c = 0; c < CHUNKS; c++)
              EACH for (int h = 0; h < HALVES; h++) b[c][h] = skinny_x(row[h], first + c, t, x_end, 0);
          }
          kept_row = r.task.y, kept_part = r.part;
        }
        EACH for (int c = 0; c < CHUNKS; c++) {
          const int slot = c % DEPTH, ahead = c + DEPTH;
          if (c < count) {
#if WT >= 3
            float4 sum[HALVES];
            EACH for (int h = 0; h < HALVES; h++) sum[h] = (float4)(0.0f);
#else
#define sum acc
#endif
            const uint4 lower = skinny_weights(w[slot], 0), upper = skinny_weights(w[slot], 1);
            EACH for (int h = 0; h < HALVES; h++) sum[h] = mma_16816(lower, b[c][h].xy, sum[h]);
            EACH for (int h = 0; h < HALVES; h++) sum[h] = mma_16816(upper, b[c][h].zw, sum[h]);
#if WT >= 3
            EACH for (int h = 0; h < HALVES; h++) acc[h] = fma(sum[h], (float4)(scales[slot].x, scales[slot].x, scales[slot].y, scales[slot].y), acc[h]);
#endif
          }
          if (ahead < CHUNKS ? ahead < count : ahead - CHUNKS < next_count)
            FETCH(slot, ahead < CHUNKS ? words : next_words, ahead < CHUNKS ? first + ahead : next_first + ahead - CHUNKS)
        }
        words = next_words, first = next_first, count = next_count;
      }
      __local float* sums = mem + EMULATION + turn * SUMS;
      turn ^= 1;
      EACH for (int h = 0; h < HALVES; h++) {
        __local float2* to = (__local float2*)(sums + (warp * ROWS + h * 8 + 2 * t) * ROW_SUMS + 2 * g);
        to[0] = acc[h].xz;
        to[ROW_SUMS / 2] = acc[h].yw;
      }
      wg_barrier();
      const int row = lid / 16, o = panel * 16 + lid % 16;
      if (row < min(r.task.z, ROWS) && o < a->n) {
        const __local float* from = sums + row * ROW_SUMS + lid % 16;
        const int y_row = task_row(a->route, r.task, row, order);
        float v = a->has_bias && !split ? ((const __global float*)a->bias)[(long)r.task.x * a->n + o] : 0.0f;
        UNROLL for (int j = 0; j < WARPS; j++) v += from[j * ROWS * ROW_SUMS];
        if (split) ((__global float*)a->sums)[r.part * a->part_stride + (long)y_row * a->n + o] = v;
        else ROW((__global float*)a->y, a->ys, y_row)[o] = v;
      }
    }
    if (split) {  // the last part to end adds up all of them
      __local int* last = (__local int*)(mem + EMULATION + turn * SUMS);
      group_barrier();
      volatile __global int* arrived = (volatile __global int*)a->counters + i % (gs.nx * gs.ny);
      if (lid == 0) *last = count_arrival(arrived) == a->parts - 1;
      group_barrier();
      if (*last) {
        skinny_sum(a, &r);
        if (lid == 0) *arrived = 0;
      }
      turn ^= 1;
    }
    i = next_i;
    if (i < gs.count) skinny_run(a, gs, i, &r);
  }
}
RANGE_KERNEL(matmul_skinny, EMULATION + 2 * SUMS)
