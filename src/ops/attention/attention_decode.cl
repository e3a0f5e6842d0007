// Attention (attention.h) of one query a row over a bf16 cache on the matrix instructions of mma.clh. A work-group takes up to
// HEADS heads of a kv head and some rounds of TILE keys. Scores: a warp has 32 keys and a slice of the dimensions; softmax: a
// head; values: 32 dimensions and a slice of the keys. Every word of the cache is read once, 16 bytes at a time, each where the same
// of the round before was multiplied. Parts of a row's keys are merged by the work-group that comes last of up to BUNDLE, and what
// that makes of them again.
//   DIMS   the padded dimension, rounded up to 64, 128, 256 or 512
//   EXACT  the dimension is that
#define WG 256
#define HEADS 8
#define TILE (DIMS <= 128 ? 128 : 16384 / DIMS)
#include "attention.clh"
#include "mma.clh"
#define BUNDLE 8
#if EXACT
#define PADDED DIMS
#define DIM DIMS
#define AT_MOST(i, last) (i)
#else
#define PADDED a->padded
#define DIM a->dim
#define AT_MOST(i, last) min(i, last)
#endif
#define LOG2E 1.4426950408889634f

#define KEY_WARPS (TILE / 32)
#define K_SLICES (8 / KEY_WARPS)
#define K_STEPS (DIMS / K_SLICES / 16)            // of 16 dimensions
#define V_WARPS (DIMS < 256 ? DIMS / 32 : 8)
#define V_BLOCKS (DIMS / 32 / V_WARPS)            // of 32 dimensions
#define V_SLICES (8 / V_WARPS)
#define V_STEPS (TILE / V_SLICES / 16)            // of 16 keys
#define PITCH (TILE + 4)                          // of scores: heads in different banks
#define PROB_PITCH (TILE / 2 + 4)
#define PLACES 256                                // groups of 16 keys that are looked up at a time
#define HALF_ROUNDS (PLACES * 8 / TILE)
// Of a part where there are n: a merge takes as long as some rounds of few keys, and two merges are worse than two rounds.
#define ALONE (DIMS <= 256 ? 2 : 3)
#define LEAST_ROUNDS(n) (DIMS <= 128 || ((n) > ALONE && (n) <= BUNDLE) ? 1 : (n) <= ALONE ? ALONE : 2)

// In local memory: partial scores [slice of the dimensions][head][key], at the end values of the slices of keys; probabilities
// [head][pair of keys]; each head's factor of what was summed up before this round, then its largest score and sum; where groups
// of keys are; whether this work-group is the last.
#define PARTS (K_SLICES * HEADS * PITCH)
#define PROBS (HEADS * PROB_PITCH)
#define WORK_FLOATS 18
#define PLAIN_FLOATS (PARTS + PROBS + 2 * HEADS + WORK_FLOATS + 4 * PLACES + 8)
#if X_HW == 0
#define LOCALS (PLAIN_FLOATS + WG * 8)
#else
#define LOCALS PLAIN_FLOATS
#endif

typedef struct {
  ulong q; int4 qs; ulong pool; long offset_words, block_words, head_words; ulong table; long table_stride; ulong cu_q, kv_len, sinks, y, part_o, part_ml, counters;
  int has_sinks, block_tokens, batch, heads, group, dim, padded; float scale; int window, max_parts, head_groups, unit_counters, units;
} attention_decode_args;

// What a work-group has; in local memory, since registers are full.
typedef struct {
  long unit;                    // of rows and groups of heads
  int row, token;
  int part, parts, begin, end;  // its rounds
  int kv, head, heads;          // its first query head, and how many
  int first, last;              // keys that are seen, and the groups of 16 at both ends
  int first_group, last_group;
} Work;

#if X_HW == 0
FN float sgx_warp(__local uint* s, float x, int largest) {
  __local float* of = (__local float*)s + (int)get_local_id(0) / WARP * WARP;
  of[(int)get_local_id(0) % WARP] = x;
  wg_barrier();
  float r = of[0];
  for (int i = 1; i < WARP; i++) r = largest ? fmax(r, of[i]) : r + of[i];
  wg_barrier();
  return r;
}
#define warp_max(x) sgx_warp(sgx_, x, 1)
#define warp_sum(x) sgx_warp(sgx_, x, 0)
#elif X_HW != 2
#define warp_max(x) (x)
#define warp_sum(x) (x)
#endif

FN void find_unit_of(PHASE_ARGS attention_decode_args* a, int token, Unit* u) {
  const __global int* cu_q = (const __global int*)a->cu_q;
  const __global int* kv_len = (const __global int*)a->kv_len;
  // Almost always row i has query i: three loads at a time.
  const int begin = cu_q[token], end = cu_q[token + 1], length = kv_len[token];
  if (begin == token && end == begin + 1) {
    u->row = token, u->token = token, u->tokens = 1, u->position = length - 1, u->end = length;
    u->first = a->window > 0 ? max(0, length - a->window) : 0;
  } else {
    find_unit(cu_q, kv_len, 0, a->batch, token, 1, a->window, u);
  }
}
// Where K and V of group n of 16 keys are, at n % PLACES. Groups that nobody sees are replaced by one that somebody does: their
// blocks may be missing.
FN void look_up(PHASE_ARGS attention_decode_args* a, int row, int kv, int n, int end, int2 groups, __local ulong* keys, __local ulong* values) {
  if (n * 16 >= end * TILE) return;
  const int key = clamp(n * 16, groups.x, groups.y), page = key / a->block_tokens, token = key - page * a->block_tokens;
  const ulong head = a->pool + 4 * (ulong)(((const __global int*)a->table)[row * a->table_stride + page] * a->block_words + a->offset_words + kv * a->head_words);
  keys[n % PLACES] = head + 4 * (ulong)(token * (PADDED / 2));
  values[n % PLACES] = head + 4 * (ulong)(a->block_tokens * (PADDED / 2) + token * 8);
}

// Work-group i of the range, and where its first keys are. Barriers.
FN void find_work(PHASE_ARGS attention_decode_args* a, Groups g, int i, __local Work* w, __local ulong* keys, __local ulong* values) {
  int begin = 0, end = 0;
  wg_barrier();
  if (i < g.count) {
    const int3 at = group_at(g, i);
    Unit u;
    Part p;
    find_unit_of(a, at.x, &u);
    find_part(u, at.z, a->max_parts, LEAST_ROUNDS((u.end + TILE - 1) / TILE - u.first / TILE), &p);
    const int2 ends = (int2)(u.first / 16 * 16, max(0, (u.end - 1) / 16 * 16));
    begin = p.begin, end = p.end;
    const int chunks = (a->group + HEADS - 1) / HEADS, chunk = at.y % chunks, kv = at.y / chunks;
    if (begin < end) look_up(a, u.row, kv, begin * (TILE / 16) + (int)get_local_id(0), end, ends, keys, values);
    if (get_local_id(0) == 0) {
      w->unit = (long)at.x * a->head_groups + at.y;
      w->row = u.row, w->token = u.token, w->part = at.z, w->parts = p.parts;
      w->kv = kv;
      w->head = w->kv * a->group + chunk * HEADS;
      w->heads = min(HEADS, a->group - chunk * HEADS);
      w->first = u.first, w->last = u.end, w->first_group = ends.x, w->last_group = ends.y;
    }
  }
  if (get_local_id(0) == 0) w->begin = begin, w->end = end;
  wg_barrier();
}

// Two numbers of a row of n, zeros past the end.
FN uint load_pair(const __global float* x, int i, int n, int real) {
  const float lo = x[AT_MOST(i, n - 1)], hi = x[AT_MOST(i + 1, n - 1)];
  return bf_pair(real && i < n ? lo : 0.0f, real && i + 1 < n ? hi : 0.0f);
}
#define PARTS_ARGS attention_decode_args
#define ITEM (int)get_local_id(0)
#define ITEMS WG
#define PARTS_BARRIER() group_barrier()
#define AT_ONCE BUNDLE
#include "attention_parts.clh"

// 16 bytes of each of the lane's lines.
#define LOAD_K(r)                                                                                                                             \
  {                                                                                                                                           \
    const int n = (r) * (TILE / 16) + key_warp * 2 + lane / 16;                                                                               \
    const __global uint* from = (const __global uint*)keys_at[n % PLACES] + lane / 4 % 4 * 4;                                                 \
    EACH for (int i = 0; i < K_STEPS * 2; i++) k[i] = LD4(from + AT_MOST((k_slice * K_STEPS * 2 + i) * 4 + t, PADDED / 2 - 1) * 16); \
  }
#define LOAD_V(r)                                                                                                     \
  EACH for (int s = 0; s < V_STEPS; s++) {                                                                            \
    const int n = (r) * (TILE / 16) + v_slice * V_STEPS + s, panels = PADDED / 16, panel_words = 8 * a->block_tokens; \
    const __global uint* from = (const __global uint*)values_at[n % PLACES] + t * 16 + lane / 4 % 4 * 4;              \
    EACH for (int i = 0; i < V_BLOCKS; i++) {                                                                         \
      const __global uint* line = from + AT_MOST((v_warp + i * V_WARPS) * 2 + lane / 16, panels - 1) * panel_words;   \
      v[(i * V_STEPS + s) * 2] = LD4(line);                                                               \
      v[(i * V_STEPS + s) * 2 + 1] = LD4(line + 64);                                                  \
    }                                                                                                                 \
  }
// Nobody keeps registers of what is not used.
#define NOTHING_LOADED                                           \
  EACH for (int j = 0; j < K_STEPS * 2; j++) k[j] = (uint4)(0u); \
  EACH for (int j = 0; j < V_BLOCKS * V_STEPS * 2; j++) v[j] = (uint4)(0u);
// Which work-item this is. Anew in every block: what follows from it is then not kept in registers over all of them.
#if X_HW == 2
FN int item_anew(int i) { asm volatile("" : "+r"(i)); return i; }
#else
#define item_anew(i) (i)
#endif
#define PLACE                                                                                  \
  const int lid = item_anew(item), lane = lid % WARP, warp = lid / WARP, g = lane / 4, t = lane % 4; \
  const int key_warp = warp % KEY_WARPS, k_slice = warp / KEY_WARPS, v_warp = warp % V_WARPS, v_slice = warp / V_WARPS;

FN void attention_decode_body(PHASE_ARGS attention_decode_args* a, Groups groups, __local float* mem, Wait wait) {
  __local float* part = mem;
  __local uint* prob = (__local uint*)(mem + PARTS);
  __local float* factor = mem + PARTS + PROBS;
  __local float2* most_sum = (__local float2*)factor;
  __local Work* w = (__local Work*)(factor + 2 * HEADS);
  __local ulong* keys_at = (__local ulong*)(factor + 2 * HEADS + WORK_FLOATS);
  __local ulong* values_at = keys_at + PLACES;
  __local int* flag = (__local int*)(values_at + PLACES);
#if X_HW == 0
  __local uint* sgx_ = (__local uint*)(mem + PLAIN_FLOATS);
#endif
  const int item = (int)get_local_id(0);
  PLACE
  uint4 k[K_STEPS * 2], v[V_BLOCKS * V_STEPS * 2];
  find_work(a, groups, groups.first, w, keys_at, values_at);
  NOTHING_LOADED
  // Keys that no earlier phase stored: their first round need not wait.
  int loaded = w->begin < w->end && (w->begin + 1) * TILE <= w->last - a->batch;
  if (loaded) {
    LOAD_K(w->begin)
    LOAD_V(w->begin)
  }
  phase_wait(wait);
  for (int i = groups.first; i < groups.count; i += groups.step) {
    const int live = w->begin < w->end;
    if (X_HW == 2 && !live) {  // (elsewhere, barriers in branches are better avoided)
      find_work(a, groups, i + groups.step, w, keys_at, values_at);
      continue;
    }
    uint2 query[K_STEPS];
    {
      PLACE
      const __global float* q = (const __global float*)a->q + (long)w->token * a->qs.x + (long)(w->head + min(g, w->heads - 1)) * a->qs.y;
      EACH for (int s = 0; s < K_STEPS; s++) {
        const int d = (k_slice * K_STEPS + s) * 16 + 2 * t;
        query[s] = (uint2)(load_pair(q, d, DIM, g < w->heads), load_pair(q, d + 8, DIM, g < w->heads));
      }
    }
    float4 o[V_BLOCKS * 2];
    EACH for (int n = 0; n < V_BLOCKS * 2; n++) o[n] = (float4)(0.0f);
    float most = -INFINITY, sum = 0.0f;  // of head `warp`; the sum over this lane's keys alone
    if (live && !loaded) {
      PLACE
      LOAD_K(w->begin)
      LOAD_V(w->begin)
    }
    for (int r = w->begin; r < w->end; r++) {
      PLACE
      // Half of the places is behind: the next ones in time.
      if ((r - w->begin) % HALF_ROUNDS == 0 && r > w->begin && lid < PLACES / 2)
        look_up(a, w->row, w->kv, (r + HALF_ROUNDS) * (TILE / 16) + lid, w->end, (int2)(w->first_group, w->last_group), keys_at, values_at);
      float4 s0 = (float4)(0.0f), s1 = (float4)(0.0f);
      EACH for (int s = 0; s < K_STEPS; s++) {
        s0 = mma_16816((uint4)(k[2 * s].x, k[2 * s].y, k[2 * s + 1].x, k[2 * s + 1].y), query[s], s0);
        s1 = mma_16816((uint4)(k[2 * s].z, k[2 * s].w, k[2 * s + 1].z, k[2 * s + 1].w), query[s], s1);
      }
      if (r + 1 < w->end) { LOAD_K(r + 1) }
      __local float* to = part + (k_slice * HEADS + 2 * t) * PITCH + key_warp * 32 + 4 * g;
      *(__local float4*)to = (float4)(s0.x, s0.z, s1.x, s1.z);
      *(__local float4*)(to + PITCH) = (float4)(s0.y, s0.w, s1.y, s1.w);
      wg_barrier();
      {
        PLACE
        float x[TILE / 32];
        float largest = most;
        UNROLL for (int j = 0; j < TILE / 32; j++) {
          const int key = r * TILE + j * 32 + lane;
          x[j] = 0.0f;
          UNROLL for (int n = 0; n < K_SLICES; n++) x[j] += part[(n * HEADS + warp) * PITCH + j * 32 + lane];
          x[j] = key >= w->first && key < w->last ? x[j] * (a->scale * LOG2E) : -INFINITY;
          largest = fmax(largest, x[j]);
        }
        largest = warp_max(largest);
        const float base = largest == -INFINITY ? 0.0f : largest, f = native_exp2(most - base);
        sum *= f;
        UNROLL for (int j = 0; j < TILE / 32; j++) {
          const ushort e = f2bf(native_exp2(x[j] - base));
          sum += bf2f(e);
          ((__local ushort*)prob)[warp * (2 * PROB_PITCH) + j * 32 + lane] = e;
        }
        if (lane == 0) factor[warp] = f;
        most = largest;
      }
      wg_barrier();
      {
        PLACE
        const float f0 = factor[2 * t], f1 = factor[2 * t + 1];
        EACH for (int n = 0; n < V_BLOCKS * 2; n++) o[n] *= (float4)(f0, f1, f0, f1);
        const int v_key = r * TILE + v_slice * V_STEPS * 16 + 2 * t, partly = r * TILE < w->first_group || (r + 1) * TILE > w->last;
        EACH for (int s = 0; s < V_STEPS; s++) {
          const __local uint* p = prob + g * PROB_PITCH + (v_slice * V_STEPS + s) * 8 + t;
          const uint2 b = (uint2)(p[0], p[4]);
          const int key = v_key + s * 16;
          EACH for (int n = 0; n < V_BLOCKS; n++) {
            uint4 v0 = v[(n * V_STEPS + s) * 2], v1 = v[(n * V_STEPS + s) * 2 + 1];
            if (partly) {  // beyond the last key lies anything, even NaN
              v0 = key >= w->first_group && key < w->last ? v0 : (uint4)(0u);
              v1 = key + 8 >= w->first_group && key + 8 < w->last ? v1 : (uint4)(0u);
            }
            o[2 * n] = mma_16816((uint4)(v0.x, v0.y, v1.x, v1.y), b, o[2 * n]);
            o[2 * n + 1] = mma_16816((uint4)(v0.z, v0.w, v1.z, v1.w), b, o[2 * n + 1]);
          }
        }
        if (r + 1 < w->end) { LOAD_V(r + 1) }
      }
    }

    // The slices of keys.
    PLACE
    sum = warp_sum(sum);
    group_barrier();  // the cache too has been read
    if (lane == 0) most_sum[warp] = (float2)(most, sum);
    if (V_SLICES > 1 && v_slice > 0) {
      __local float* to = part + ((v_slice - 1) * HEADS + 2 * t) * DIMS + v_warp * 32 + 4 * g;
      *(__local float4*)to = (float4)(o[0].x, o[0].z, o[1].x, o[1].z);
      *(__local float4*)(to + DIMS) = (float4)(o[0].y, o[0].w, o[1].y, o[1].w);
    }
    wg_barrier();
    if (live && v_slice == 0) {
      const long slot = (w->unit * a->max_parts + w->part) * HEADS;
      EACH for (int n = 0; n < V_BLOCKS; n++) {
        const int d = (v_warp + n * V_WARPS) * 32 + 4 * g;
        EACH for (int h = 0; h < 2; h++) {
          const int head = 2 * t + h;
          float4 x = h ? (float4)(o[2 * n].y, o[2 * n].w, o[2 * n + 1].y, o[2 * n + 1].w) : (float4)(o[2 * n].x, o[2 * n].z, o[2 * n + 1].x, o[2 * n + 1].z);
          UNROLL for (int s = 1; s < V_SLICES; s++) x += *(const __local float4*)(part + ((s - 1) * HEADS + head) * DIMS + d);
          if (head < w->heads && w->parts > 1) {
            if (d < PADDED) *(__global float4*)((__global float*)a->part_o + (slot + head) * PADDED + d) = x;
          } else if (head < w->heads) {
            const float2 of = most_sum[head];
            store_4(x * last_factor(a, w, head, of.x, of.y), d, DIM, y_aligned(a), y_of(a, w, head));
          }
        }
      }
      if (w->parts > 1 && lid < w->heads) scores_of(a, w, w->part, 0)[lid] = most_sum[lid];
    }
    merge(a, w, live, flag);
    find_work(a, groups, i + groups.step, w, keys_at, values_at);
    loaded = 0;
    NOTHING_LOADED
  }
}
RANGE_KERNEL(attention_decode, LOCALS)
