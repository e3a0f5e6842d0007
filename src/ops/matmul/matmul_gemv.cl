// Few rows: a work-group reads one panel of 16 outputs once for ROWS rows of x, each work-item a quarter of a line; the
// next block's words are on their way while one is multiplied, the first ones while earlier phases end.
//   GATED      x is act(x) * up, computed while it is staged
//   COUNTED    where K is split, the last part to end adds up all of them
#include "phase.clh"
#include "packed.clh"
#include "routed.clh"
#if GATED
#include "act.clh"
#endif
#define WG 256
#define TEAM (WG / 4)                            // lines that the group loads at once
// Lines of a work-item and block; more spill registers.
#if GATED && WT == 3 && SG == 8
#define LOADS 2
#else
#define LOADS (ROWS == 8 ? (WT >= 3 || X_HW == 1 ? 1 : 2) : ROWS == 4 && WT >= 3 ? 2 : 4)
#endif
#define BLOCK (TEAM * LOADS)                     // lines
#define WISH (4096 / (P * ROWS * BLOCK))         // blocks whose x is kept at a time
#define CHUNK ((WISH > 0 ? WISH : 1) * BLOCK)    // lines
#define CK (CHUNK * P)
#define SUMS (WG * 4 * ROWS)
#define KEEPS (ROWS <= 4)        // x stays in local memory from one panel to the next; else the sums take its place
#define LOCALS (KEEPS ? CK * ROWS + SUMS : CK * ROWS > SUMS ? CK * ROWS : SUMS)
#define PV (P < 4 ? P : 4)
#define AT_ONCE 4  // numbers of x that a work-item asks for before it waits

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

typedef struct {
  ulong x; int4 xs; int x_div; ulong w; long matrix_bytes; ulong bias; int has_bias; ulong y; int4 ys;
  int rows, n, k, round_x, route; ulong ids, order, tasks; int parts, part_lines; long part_stride; ulong sums, counters;
  ulong up; int4 us; int act; float limit;
} matmul_gemv_args;

// What a work-group reads: lines [begin, end) of a panel. Nothing in the weights depends on earlier phases; routes do.
typedef struct {
  int4 task;
  int panel, part, begin, end;
  const __global uint4* words;
  const __global uchar* scales;
} GemvPiece;
FN void gemv_piece(PHASE_ARGS matmul_gemv_args* a, int3 at, GemvPiece* p) {
  const int lines = packed_lines(a->k);
  p->panel = at.x, p->part = at.z;
  p->task = task_of(a->route, at.y, ROWS, a->rows, (const __global int*)a->ids, (const __global int4*)a->tasks);
  p->begin = p->part * a->part_lines;
  p->end = p->task.z > 0 ? min(lines, p->begin + a->part_lines) : p->begin;
  const __global uchar* base = (const __global uchar*)a->w + (long)p->task.x * a->matrix_bytes + (long)p->panel * packed_panel_bytes(a->k);
  p->words = (const __global uint4*)base + ((int)get_local_id(0) & 3);
  p->scales = base + (long)lines * 64;
}

FN void matmul_gemv_body(PHASE_ARGS matmul_gemv_args* a, Groups g, __local float* mem, Wait w) {
  __local float* s = mem;
  __local float4* sums = (__local float4*)(KEEPS ? mem + CK * ROWS : mem);
  const int lid = (int)get_local_id(0), quad = lid & 3, team = lid >> 2, k = a->k, lines = packed_lines(k);
  const __global float* x = (const __global float*)a->x;
  const __global int* order = (const __global int*)a->order;
  const int early = a->route == ROUTE_ALL;  // which weights does not depend on earlier phases
  GemvPiece p;
  uint4 next[LOADS];
#if WT >= 3
  scale_word next_scale[LOADS];
#define LOAD_SCALES(u, line) next_scale[u] = load_scale(p.scales, line, quad);
#else
#define LOAD_SCALES(u, line)
#endif
#define LOAD_FIRST                                             \
  UNROLL for (int u = 0; u < LOADS; u++) {                     \
    const int line = min(p.begin + u * TEAM + team, lines - 1); \
    next[u] = p.words[(long)line * 4];                         \
    LOAD_SCALES(u, line)                                       \
  }
  if (!early) phase_wait(w);
  if (g.first < g.count) {
    gemv_piece(a, group_at(g, g.first), &p);
    LOAD_FIRST
  }
  if (early) phase_wait(w);
  int staged_row = -1, staged_at = -1;  // what s holds
  for (int i = g.first; i < g.count; i += g.step) {
    float4 acc[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) acc[r] = (float4)(0.0f);
    const int4 task = p.task;
    const int end = p.end, panel = p.panel, part = p.part, tile = group_at(g, i).y;
    for (int c = p.begin; c < end; c += CHUNK) {
      if (!KEEPS || staged_row != task.y || staged_at != c) {
        const int k_end = min(k, end * P) - c * P;  // of this chunk; zeros after it
        UNROLL for (int r = 0; r < ROWS; r++) {
          const int row = task_row(a->route, task, r, order) / a->x_div;
          const __global float* from = ROW(x, a->xs, row) + (long)c * P;
#if GATED
          const __global float* up = ROW((const __global float*)a->up, a->us, row) + (long)c * P;
#endif
          const int staged = c + CHUNK < end ? CK : min(CK, (end - c + BLOCK) * P);
          for (int j0 = lid; j0 < staged; j0 += AT_ONCE * WG) {
            float v[AT_ONCE];
#if GATED
            float u[AT_ONCE];
            UNROLL for (int i = 0; i < AT_ONCE; i++) u[i] = up[min(j0 + i * WG, k_end - 1)];
#endif
            UNROLL for (int i = 0; i < AT_ONCE; i++) v[i] = from[min(j0 + i * WG, k_end - 1)];
            UNROLL for (int i = 0; i < AT_ONCE; i++) {
              const int j = j0 + i * WG;
#if GATED
              v[i] = act_gated(a->act, v[i], u[i], a->limit);
#endif
              if (j < staged) s[r * CK + j] = j >= k_end ? 0.0f : a->round_x ? bf2f(f2bf(v[i])) : v[i];
            }
          }
        }
        staged_row = task.y, staged_at = c;
        wg_barrier();
      }
      const int c_end = min(end, c + CHUNK);
      for (int b = c; b < c_end; b += BLOCK) {
        uint4 q[LOADS];
#if WT >= 3
        scale_word q_scale[LOADS];
#endif
        UNROLL for (int u = 0; u < LOADS; u++) {
          const int line = min(b + BLOCK + u * TEAM + team, lines - 1);
          q[u] = next[u];
#if WT >= 3
          q_scale[u] = next_scale[u];
#endif
          if (b + BLOCK < end) {
            next[u] = p.words[(long)line * 4];
            LOAD_SCALES(u, line)
          }
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
            UNROLL for (int j = 0; j < PV; j++) wv[j] = weight4(q[u], h + j);
            UNROLL for (int r = 0; r < ROWS; r++) sum[r] = MAC(wv, xk + r * CK + h, sum[r]);
          }
#if WT >= 3
          const float4 scale = scale4(q_scale[u]);
          UNROLL for (int r = 0; r < ROWS; r++) acc[r] = fma(sum[r], scale, acc[r]);
#endif
        }
      }
      if (!KEEPS || end - p.begin > CHUNK) wg_barrier();  // before s is filled again
    }
    if (i + g.step < g.count) {  // the next panel's first words come while this one's sums are added up
      gemv_piece(a, group_at(g, i + g.step), &p);
      LOAD_FIRST
    }
    if (!KEEPS) staged_row = -1;
    UNROLL for (int r = 0; r < ROWS; r++) sums[r * WG + lid] = acc[r];
    wg_barrier();
    // 64 teams to 16 sums of every output, then to one.
    float some[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) {
      const __local float* of = (const __local float*)(sums + r * WG) + (lid / 16) * 64 + lid % 16;
      some[r] = (of[0] + of[16]) + (of[32] + of[48]);
    }
    wg_barrier();
    UNROLL for (int r = 0; r < ROWS; r++) ((__local float*)(sums + r * WG))[lid] = some[r];
    wg_barrier();
    const int split = a->parts > 1;
    for (int at = lid; at < ROWS * 16; at += WG) {
      const int r = at / 16, o = panel * 16 + at % 16;
      if (r < min(task.z, ROWS) && o < a->n) {
        const __local float* of = (const __local float*)(sums + r * WG) + at % 16;
        float v = a->has_bias && !split ? ((const __global float*)a->bias)[(long)task.x * a->n + o] : 0.0f;
        UNROLL for (int j = 0; j < 16; j++) v += of[j * 16];
        const int row = task_row(a->route, task, r, order);
        if (split) ((__global float*)a->sums)[part * a->part_stride + (long)row * a->n + o] = v;
        else ROW((__global float*)a->y, a->ys, row)[o] = v;
      }
    }
#if COUNTED
    if (split) {
      __local int* last = (__local int*)sums;
      volatile __global int* arrived = (volatile __global int*)a->counters + (tile * g.nx + panel);
      group_barrier();
      if (lid == 0) *last = count_arrival(arrived) == a->parts - 1;
      group_barrier();
      if (*last) {
        for (int i = lid; i < ROWS * 16; i += WG) {
          const int r = i / 16, o = panel * 16 + i % 16;
          if (r < min(task.z, ROWS) && o < a->n) {
            const int row = task_row(a->route, task, r, order);
            const volatile __global float* of = (const volatile __global float*)a->sums + (long)row * a->n + o;
            float v = a->has_bias ? ((const __global float*)a->bias)[(long)task.x * a->n + o] : 0.0f;
            for (int j = 0; j < a->parts; j++) v += of[j * a->part_stride];
            ROW((__global float*)a->y, a->ys, row)[o] = v;
          }
        }
        if (lid == 0) *arrived = 0;
      }
    }
#endif
    wg_barrier();
  }
}
RANGE_KERNEL(matmul_gemv, LOCALS)
