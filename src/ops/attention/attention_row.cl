// FusedAttention (fused_attention.h), and Attention of one query a row, over a bf16 cache, for few rows: little code, which a
// work-group runs once, and all of a round's keys on their way before the query is there. A work-group takes up to HEADS heads of a
// kv head and some rounds of TILE keys. Scores: a warp has 32 keys and a slice of the dimensions; softmax: a head; values: 32
// dimensions and a slice of the keys. Heads come as they left their product; a warp norms and rotates a head of Q, or the newest
// key, or its V, which are in no cache yet: they begin the softmax, and the rounds are of the cache alone. Parts of a row's keys are
// merged by the work-group that comes last of up to BUNDLE, and what that makes of them again.
//   DIMS   the padded dimension, rounded up to 64, 128, 256 or 512
//   EXACT  the dimension is that, and y aligned to 16 bytes
//   EARLY  the cache is as calls before the last one left it: its first keys are asked for before the query is there
//   WEIGHTED, TURNED  there are weights of norms; pairs are rotated
//   PAIRS, INTERLEAVED  known when the kernel is built, which makes it a sixth smaller; else arguments
//   QUADS  pairs that are rotated are groups of four, those of a group beside each other, and heads and weights aligned to 16 bytes
#define HEADS 8
#define TILE (16384 / DIMS)            // keys whose K and V a work-group has in registers, 64 bytes of each a work-item
#include "attention.clh"
#include "mma.clh"
#define WARPS (WIDE_WG / WARP)
#if EXACT
#define PADDED DIMS
#define DIM DIMS
#define AT_MOST(i, last) (i)
#else
#define PADDED a->padded
#define DIM a->dim
#define AT_MOST(i, last) min(i, last)
#endif
#ifndef QUADS
#define QUADS 0
#endif
#ifndef PAIRS
#define PAIRS a->pairs
#define INTERLEAVED a->interleaved
#endif
#define LOG2E 1.4426950408889634f
#define LINES 4                        // of K, and of V, of a work-item and round: two steps of 16 dimensions or keys
#define K_SLICES (WARPS * 32 / TILE)   // of the dimensions; a warp has one of 32 keys
#define V_SLICES (WARPS * 32 / DIMS)   // of the keys; a warp has one of 32 dimensions
#define Q_PITCH (DIMS / 2 + 4)         // words; heads in different banks
#define PITCH (TILE + 4)
#define PROB_PITCH (TILE / 2 + 4)
#define BUNDLE 16
#define AT_ONCE 8                      // parts that a merge reads at a time
#define LANE_PAIRS (DIMS / 64)         // of a head, where a warp has it
#define EACH_PAIR UNROLL for (int i_ = 0; i_ < LANE_PAIRS; i_++)
#define QUAD_HEADS (X_HW == 2 && QUADS && LANE_PAIRS >= 4)
#if QUAD_HEADS
#define PAIR(i) ((i) / 4 * (4 * WARP) + lane * 4 + (i) % 4)  // which pair of a head is a lane's i
#define EACH_QUAD UNROLL for (int i_ = 0; i_ < LANE_PAIRS; i_ += 4)
#else
#define PAIR(i) (lane + (i) * WARP)
#endif

// In local memory, in floats: scores of slices of the dimensions [slice][head][PITCH], at the end values of slices of keys
// [slice][head][DIMS]; queries [head][Q_PITCH] and probabilities [head][PROB_PITCH] as bf16; factors of what was summed up before a
// round; each head's largest score and sum, and what its values are multiplied with in the end; K and V of the newest key as bf16; Work.
#define SCORES (K_SLICES * HEADS * PITCH)
#define QUERIES (HEADS * Q_PITCH)
#define PROBS (HEADS * PROB_PITCH)
#define WORK_FLOATS 18
#define ALL_FLOATS (SCORES + QUERIES + PROBS + 4 * HEADS + DIMS + WORK_FLOATS + 2)
#define LOCALS (ALL_FLOATS + (X_HW == 0 ? WIDE_WG * 8 : 0))

typedef struct {
  ulong q; int4 qs; ulong pool; long offset_words, block_words, head_words; ulong table; long table_stride; ulong cu_q, kv_len, sinks, y, part_o, part_ml, counters;
  int has_sinks, block_tokens, batch, heads, group, dim, padded; float scale; int window, max_parts, head_groups, unit_counters, units, rows, chunks, block_groups;
  float by_rows, by_head_groups, by_chunks, by_block, by_parts;  // 1 / rows and so on; 1 / block_groups, which is a block's groups of 16 keys
  ulong k, v, q_w, k_w, v_w, turns, slots; int4 ks, vs;
  int stores, norms, weights, pairs, interleaved;  // norms, weights: bit 0 of Q, 1 of K, 2 of V
  float eps, w_offset;
} attention_row_args;

// What a work-group has; in local memory.
typedef struct {
  long unit;                    // of rows and groups of heads
  int row, token;
  int live, part, parts, begin, end;  // whether it has anything to do; its rounds
  int kv, head, heads;          // its first query head, and how many
  int first, last;              // keys in the cache that are seen
  int newest, slot;             // the newest key where it comes from k and v, and where this work-group stores it; else -1
} Work;

#if X_HW == 0
FN float sgx_warp(__local uint* s, float x, int largest) {
  __local float* of = (__local float*)s + wide_item() / WARP * WARP;
  of[wide_item() % WARP] = x;
  wide_barrier();
  float r = of[0];
  for (int i = 1; i < WARP; i++) r = largest ? fmax(r, of[i]) : r + of[i];
  wide_barrier();
  return r;
}
#define warp_max(x) sgx_warp(sgx_, x, 1)
#define warp_sum(x) sgx_warp(sgx_, x, 0)
#elif X_HW != 2
#define warp_max(x) (x)
#define warp_sum(x) (x)
#endif

// n / d for small numbers, where by is 1 / d: a division takes twenty instructions.
FN int over(int n, float by) { return (int)(((float)n + 0.5f) * by); }

// Work-group i of the range. Barriers.
FN void find_work(PHASE_ARGS attention_row_args* a, Groups g, int i, __local Work* w) {
  wide_barrier();
  if (wide_item() == 0) {
    w->live = 0, w->begin = w->end = 0, w->newest = -1, w->token = 0, w->kv = 0, w->head = 0, w->heads = 1;
    if (i < g.count) {
      const int unit = over(i, a->by_rows), row = i - unit * a->rows, part = over(unit, a->by_head_groups), head_group = unit - part * a->head_groups;
      // Almost always row i has query i, and what is asked for at the same time is right.
      const __global int *cu_q = (const __global int*)a->cu_q, *kv_len = (const __global int*)a->kv_len;
      const int begin = cu_q[row], end = cu_q[row + 1], length = kv_len[row], its = ((const __global int*)(a->stores ? a->slots : a->kv_len))[row];
      const int slot = a->stores ? its : -1;
      Unit u;
      u.row = u.token = row, u.tokens = 1, u.position = length - 1, u.first = a->window > 0 ? max(0, length - a->window) : 0, u.end = length;
      if (begin != row || end != begin + 1) find_unit(cu_q, kv_len, 0, a->batch, row, 1, a->window, &u);
      const int newest = slot >= 0 ? u.end - 1 : -1;
      if (slot >= 0) u.end--;
      // Rounds are shared as find_part does it; a merge takes as long as a round.
      const int first = u.first / TILE, past = (u.end + TILE - 1) / TILE, rounds = past - first, each = max(rounds <= 2 ? 2 : 1, over(rounds + a->max_parts - 1, a->by_parts));
      const int parts = max(1, (int)native_divide((float)(rounds + each) - 0.5f, (float)each));
      const int kv = over(head_group, a->by_chunks), chunk = head_group - kv * a->chunks;
      w->unit = (long)row * a->head_groups + head_group;
      w->row = u.row, w->token = u.token, w->live = u.tokens > 0 && part < parts, w->part = part, w->parts = parts;
      w->begin = min(past, first + part * each), w->end = max(min(past, first + (part + 1) * each), w->begin + (rounds == 0));  // a round without keys for the first token
      w->kv = kv, w->head = kv * a->group + chunk * HEADS, w->heads = min(HEADS, a->group - chunk * HEADS);
      w->first = u.first, w->last = u.end;
      w->newest = part == parts - 1 ? newest : -1, w->slot = chunk == 0 ? slot : -1;
    }
  }
  wide_barrier();
}

// A group of 16 keys in place of group n, if nobody sees that: its block may be missing.
FN int seen_group(const __local Work* w, int n) { return clamp(n, w->first / 16, max(w->last - 1, w->first) / 16); }
FN int block_of(PHASE_ARGS attention_row_args* a, const __local Work* w, int n) { return ((const __global int*)a->table)[w->row * a->table_stride + over(n, a->by_block)]; }
// K of group n, which is in that block, and V.
FN __global uint* keys_of(PHASE_ARGS attention_row_args* a, const __local Work* w, int n, int block) {
  return (__global uint*)a->pool + (long)block * a->block_words + a->offset_words + w->kv * a->head_words + (n - over(n, a->by_block) * a->block_groups) * (16 * PADDED / 2);
}
FN __global uint* values_of(PHASE_ARGS attention_row_args* a, const __local Work* w, int n, int block) {
  return (__global uint*)a->pool + (long)block * a->block_words + a->offset_words + w->kv * a->head_words + a->block_tokens * (PADDED / 2) + (n - over(n, a->by_block) * a->block_groups) * 128;
}

// The numbers of pair j: those that are rotated together, then the rest. (Without branches, as loads
// between them wait for each other.)
FN int2 pair_of(int pairs, int interleaved, int j) {
  const int rest = j >= pairs ? 1 : 0, twice = interleaved && !rest ? 1 : 0;
  return (int2)(j + rest * pairs + twice * j, j + (rest ? DIMS / 2 : twice ? j + 1 : pairs));
}
// What a warp makes: 0 a head of Q, 1 K and 2 V of the newest key; -1 nothing.
FN int task_of(const __local Work* w, int warp) { return warp < w->heads ? 0 : w->newest < 0 || warp > w->heads + 1 ? -1 : 1 + warp - w->heads; }
// A lane's pairs of a row of DIM numbers, zeros past the end.
FN void load_head(const __global float* from, PHASE_ARGS attention_row_args* a, int lane, float2* x) {
  const int pairs = PAIRS, interleaved = INTERLEAVED;
#if QUAD_HEADS
  EACH_QUAD {
    const int2 at = pair_of(pairs, 0, PAIR(i_));
    const float4 low = *(const __global float4*)(from + at.x), high = *(const __global float4*)(from + at.y);
    x[i_] = (float2)(low.x, high.x), x[i_ + 1] = (float2)(low.y, high.y), x[i_ + 2] = (float2)(low.z, high.z), x[i_ + 3] = (float2)(low.w, high.w);
  }
#else
  EACH_PAIR {
    const int2 at = pair_of(pairs, interleaved, PAIR(i_));
    x[i_] = (float2)(from[AT_MOST(at.x, DIM - 1)], from[AT_MOST(at.y, DIM - 1)]);
  }
#if !EXACT
  EACH_PAIR {
    const int2 at = pair_of(pairs, interleaved, PAIR(i_));
    x[i_] = (float2)(at.x < DIM ? x[i_].x : 0.0f, at.y < DIM ? x[i_].y : 0.0f);
  }
#endif
#endif
}
// Cosines and sines of a token's pairs; of the rest 1 and 0.
FN void load_turns(PHASE_ARGS attention_row_args* a, int token, int lane, float2* turn) {
  const int pairs = PAIRS;
  const __global float* cosines = (const __global float*)a->turns + (long)token * 2 * pairs;
#if QUAD_HEADS
  EACH_QUAD {
    const int j = min(PAIR(i_), pairs - 4);
    const float4 c = *(const __global float4*)(cosines + j), s = *(const __global float4*)(cosines + pairs + j);
    turn[i_] = (float2)(c.x, s.x), turn[i_ + 1] = (float2)(c.y, s.y), turn[i_ + 2] = (float2)(c.z, s.z), turn[i_ + 3] = (float2)(c.w, s.w);
  }
#else
  EACH_PAIR {
    const int j = min(PAIR(i_), pairs - 1);
    turn[i_] = (float2)(cosines[j], cosines[pairs + j]);
  }
#endif
  EACH_PAIR {
    const int turned = PAIR(i_) < pairs;
    turn[i_] = (float2)(turned ? turn[i_].x : 1.0f, turned ? turn[i_].y : 0.0f);
  }
}
// What load_head loads, as bf16.
FN void store_head(const float2* x, PHASE_ARGS attention_row_args* a, int lane, __local ushort* to) {
  const int pairs = PAIRS, interleaved = INTERLEAVED;
#if QUAD_HEADS
  EACH_QUAD {
    const int2 at = pair_of(pairs, 0, PAIR(i_));
    *(__local uint2*)(to + at.x) = (uint2)(bf_pair(x[i_].x, x[i_ + 1].x), bf_pair(x[i_ + 2].x, x[i_ + 3].x));
    *(__local uint2*)(to + at.y) = (uint2)(bf_pair(x[i_].y, x[i_ + 1].y), bf_pair(x[i_ + 2].y, x[i_ + 3].y));
  }
#else
  EACH_PAIR {
    const int2 at = pair_of(pairs, interleaved, PAIR(i_));
    to[at.x] = (ushort)bf_pair(x[i_].x, 0.0f), to[at.y] = (ushort)bf_pair(x[i_].y, 0.0f);
  }
#endif
}
// The newest key into the cache, as QkvStore leaves it. V of the key after an even one is zero.
FN void store_newest(PHASE_ARGS attention_row_args* a, const __local Work* w, const __local ushort* newest) {
  const int token = w->newest % 16, n = w->newest / 16, block = block_of(a, w, n);
  __global uint *k = keys_of(a, w, n, block) + token, *v = values_of(a, w, n, block) + token / 2 * 16;
  for (int i = wide_item(); i < PADDED / 2; i += WIDE_WG) k[i * 16] = ((const __local uint*)newest)[i];
  for (int d = wide_item(); d < PADDED; d += WIDE_WG) {
    __global uint* to = v + d / 16 * (8 * a->block_tokens) + d % 16;
    if (token % 2 == 0) *to = newest[DIMS + d];
    else ((__global ushort*)to)[1] = newest[DIMS + d];
  }
}

// 16 bytes of the cache. Another work-group may store the newest key beside what is read: NVIDIA's memory does not mind; elsewhere
// the rest is read alone. component: the word of K where it is stored; odd: the half of V, where `stored`.
#if X_HW == 2
#define load_beside_k(from, component) LD4(from)
#define load_beside_v(from, stored, odd) LD4(from)
#else
FN uint4 load_beside_k(const __global uint* from, int component) {
  if (component < 0 || component > 3) return LD4(from);
  return (uint4)(component == 0 ? 0u : from[0], component == 1 ? 0u : from[1], component == 2 ? 0u : from[2], component == 3 ? 0u : from[3]);
}
FN uint4 load_beside_v(const __global uint* from, int stored, int odd) {
  const __global ushort* low = (const __global ushort*)from;
  return !stored ? LD4(from) : odd ? (uint4)(low[0], low[2], low[4], low[6]) : (uint4)(0u);
}
#endif
// The lane's lines of round r: four keys of K at pairs of dimensions, four dimensions of V at pairs of keys. Their blocks have been
// looked up before, and those of the next round are. other: the newest key where another work-group may be storing it, else -1.
#define K_GROUP(r) seen_group(w, (r) * (TILE / 16) + key_warp * 2 + lane / 16)
#define V_GROUP(r, s) seen_group(w, (r) * (TILE / 16) + v_slice * 2 + (s))
#define LOOK_UP_K(r) k_block = block_of(a, w, K_GROUP(r));
#define LOOK_UP_V(r) EACH for (int s_ = 0; s_ < 2; s_++) v_block[s_] = block_of(a, w, V_GROUP(r, s_));
#define LOAD_K(r)                                                                                                   \
  {                                                                                                                 \
    const int n_ = K_GROUP(r);                                                                                      \
    const __global uint* from_ = keys_of(a, w, n_, k_block) + lane / 4 % 4 * 4;                                     \
    EACH for (int i = 0; i < LINES; i++)                                                                            \
      k[i] = load_beside_k(from_ + AT_MOST((k_slice * LINES + i) * 4 + t, PADDED / 2 - 1) * 16, other - n_ * 16 - lane / 4 % 4 * 4); \
  }
#define LOAD_V(r)                                                                                                   \
  EACH for (int s = 0; s < 2; s++) {                                                                                \
    const int n_ = V_GROUP(r, s);                                                                                   \
    const __global uint* from_ = values_of(a, w, n_, v_block[s]) + AT_MOST(v_warp * 2 + lane / 16, PADDED / 16 - 1) * (8 * a->block_tokens) + t * 16 + lane / 4 % 4 * 4; \
    v[2 * s] = load_beside_v(from_, other >= 0 && other / 2 == n_ * 8 + t, other & 1);                              \
    v[2 * s + 1] = load_beside_v(from_ + 64, other >= 0 && other / 2 == n_ * 8 + t + 4, other & 1);                 \
  }
// What the warp's head is made of.
#define LOAD_HEADS                                                                                                  \
  {                                                                                                                 \
    const int4 strides = kind <= 0 ? a->qs : kind == 1 ? a->ks : a->vs;                                             \
    load_head((const __global float*)(kind <= 0 ? a->q : kind == 1 ? a->k : a->v) + (long)w->token * strides.x + (long)(kind <= 0 ? w->head + min(warp, w->heads - 1) : w->kv) * strides.y, a, lane, x); \
    if (WEIGHTED) load_head((const __global float*)(kind <= 0 ? a->q_w : kind == 1 ? a->k_w : a->v_w), a, lane, norm); \
    if (TURNED) load_turns(a, w->token, lane, turn);                                                                \
  }
// What nobody sees, even NaN, is zero.
FN uint4 seen_v(uint4 v, int key, int first, int last) {
  return v & (uint4)((key >= first && key < last ? 0xffffu : 0u) | (key + 1 >= first && key + 1 < last ? 0xffff0000u : 0u));
}

#define PARTS_ARGS attention_row_args
#define ITEM wide_item()
#define ITEMS WIDE_WG
#define PARTS_BARRIER() wide_memory_barrier()
#include "attention_parts.clh"

FN void attention_row_body(PHASE_ARGS attention_row_args* a, Groups groups, __local float* mem, Wait wait) {
  __local float* part = mem;
  __local uint *query = (__local uint*)(part + SCORES), *prob = query + QUERIES;
  __local float* factor = (__local float*)(prob + PROBS);
  __local float2* most_sum = (__local float2*)(factor + HEADS);
  __local float* last = (__local float*)(most_sum + HEADS);
  __local ushort* newest = (__local ushort*)(last + HEADS);
  __local Work* w = (__local Work*)(newest + 2 * DIMS);
  __local int* flag = (__local int*)w + WORK_FLOATS;
#if X_HW == 0
  __local uint* sgx_ = (__local uint*)(mem + ALL_FLOATS);
#endif
  const int tid = wide_item(), lane = tid % WARP, warp = tid / WARP, g = lane / 4, t = lane % 4, head = warp % HEADS;
  const int key_warp = warp / K_SLICES, k_slice = warp % K_SLICES, v_warp = warp / V_SLICES, v_slice = warp % V_SLICES;
#ifdef PHASED
  groups.first = groups.step - 1 - groups.first;  // those that had least to do in the phase before, whose first loads come early
#endif
  for (int i = groups.first, first = 1; i < groups.count || first; i += groups.step, first = 0) {
    find_work(a, groups, i, w);
    const int live = w->live, begin = w->begin, end = live ? w->end : begin, kind = live ? task_of(w, warp) : -1, has_newest = live && w->newest >= 0;
    if (X_HW == 2 && !live) {  // (elsewhere, barriers in branches are better avoided)
      if (first) phase_wait(wait);
      continue;
    }
    const int other = has_newest && w->slot < 0 ? w->newest : -1;
    uint4 k[LINES], v[LINES];
    EACH for (int l = 0; l < LINES; l++) k[l] = v[l] = (uint4)(0u);
    int k_block = 0, v_block[2] = {0, 0};
    if (X_HW == 2 || live) {
      LOOK_UP_K(begin)
      LOOK_UP_V(begin)
    }
#if EARLY
    if (X_HW == 2 || live) {
      LOAD_K(begin)
      LOAD_V(begin)
      LOOK_UP_K(begin + 1)
      LOOK_UP_V(begin + 1)
    }
#endif
    float2 x[LANE_PAIRS], turn[LANE_PAIRS], norm[LANE_PAIRS];
    if (first) phase_wait(wait);
#if !EARLY
    LOAD_HEADS
    if (X_HW == 2 || live) {
      LOAD_K(begin)
      LOAD_V(begin)
      LOOK_UP_K(begin + 1)
      LOOK_UP_V(begin + 1)
    }
#endif
    // Heads, as QkvStore makes them.
    if (X_HW != 2 || kind >= 0) {
#if EARLY
      LOAD_HEADS
#endif
      float squares = 0.0f;
      EACH_PAIR squares = fma(x[i_].x, x[i_].x, fma(x[i_].y, x[i_].y, squares));
      squares = warp_sum(squares);
      const int makes = max(kind, 0), weighted = a->weights >> makes & 1;
      const float f = a->norms >> makes & 1 ? rsqrt(squares / (float)DIM + a->eps) : 1.0f;
      EACH_PAIR {
        x[i_] *= (float2)(f);
#if WEIGHTED
        x[i_] *= (float2)(weighted ? norm[i_].x + a->w_offset : 1.0f, weighted ? norm[i_].y + a->w_offset : 1.0f);
#endif
#if TURNED
        if (kind < 2) x[i_] = (float2)(fma(x[i_].x, turn[i_].x, -(x[i_].y * turn[i_].y)), fma(x[i_].y, turn[i_].x, x[i_].x * turn[i_].y));
#endif
      }
      if (kind >= 0) store_head(x, a, lane, kind == 0 ? (__local ushort*)query + warp * (2 * Q_PITCH) : newest + (kind - 1) * DIMS);
    }
    for (int at = (live ? w->heads : 0) * Q_PITCH + tid; at < QUERIES; at += WIDE_WG) query[at] = 0u;
    wide_barrier();

    // The newest key begins the softmax. most and sum: of head `head`, the sum over this lane's keys alone.
    float score = 0.0f;
    if (X_HW != 2 || has_newest) {
      if (has_newest)
        EACH_PAIR {
          const uint key = ((const __local uint*)newest)[lane + i_ * WARP], of = query[head * Q_PITCH + lane + i_ * WARP];
          score = fma(bf_lo(key), bf_lo(of), fma(bf_hi(key), bf_hi(of), score));
        }
      score = warp_sum(score) * (a->scale * LOG2E);
    }
    float most = has_newest ? score : -INFINITY, sum = has_newest && lane == 0 ? 1.0f : 0.0f;
    // Heads 2 t and 2 t + 1 (x and z, y and w), dimensions v_d .. v_d + 3.
    const int v_d = v_warp * 32 + 4 * g;
    float4 o[2] = {(float4)(0.0f), (float4)(0.0f)};
    if (has_newest && v_slice == 0) {
      const uint2 value = *(const __local uint2*)(newest + DIMS + v_d);
      o[0] = (float4)(bf_lo(value.x), bf_lo(value.x), bf_hi(value.x), bf_hi(value.x));
      o[1] = (float4)(bf_lo(value.y), bf_lo(value.y), bf_hi(value.y), bf_hi(value.y));
    }
    uint2 q[2];
    UNROLL for (int s = 0; s < 2; s++) {
      const __local uint* from = query + g * Q_PITCH + (k_slice * 2 + s) * 8 + t;
      q[s] = (uint2)(from[0], from[4]);
    }

    for (int r = begin; r < end; r++) {
      float4 s0 = (float4)(0.0f), s1 = (float4)(0.0f);
      EACH for (int s = 0; s < 2; s++) {
        s0 = mma_16816((uint4)(k[2 * s].x, k[2 * s].y, k[2 * s + 1].x, k[2 * s + 1].y), q[s], s0);
        s1 = mma_16816((uint4)(k[2 * s].z, k[2 * s].w, k[2 * s + 1].z, k[2 * s + 1].w), q[s], s1);
      }
      if (r + 1 < end) {
        LOAD_K(r + 1)
        LOOK_UP_K(r + 2)
      }
      __local float* to = part + (k_slice * HEADS + 2 * t) * PITCH + key_warp * 32 + 4 * g;
      *(__local float4*)to = (float4)(s0.x, s0.z, s1.x, s1.z);
      *(__local float4*)(to + PITCH) = (float4)(s0.y, s0.w, s1.y, s1.w);
      wide_barrier();
      if (X_HW != 2 || warp < HEADS) {
        float s[TILE / WARP], largest = most;
        UNROLL for (int j = 0; j < TILE / WARP; j++) {
          const int at = j * WARP + lane, key = r * TILE + at;
          s[j] = 0.0f;
          UNROLL for (int n = 0; n < K_SLICES; n++) s[j] += part[(n * HEADS + head) * PITCH + at];
          s[j] = key >= w->first && key < w->last ? s[j] * (a->scale * LOG2E) : -INFINITY;
          largest = fmax(largest, s[j]);
        }
        largest = warp_max(largest);
        const float base = largest == -INFINITY ? 0.0f : largest, f = native_exp2(most - base);
        sum *= f, most = largest;
        UNROLL for (int j = 0; j < TILE / WARP; j++) {
          const ushort e = f2bf(native_exp2(s[j] - base));
          sum += bf2f(e);
          if (warp < HEADS) ((__local ushort*)prob)[head * (2 * PROB_PITCH) + j * WARP + lane] = e;
        }
        if (warp < HEADS && lane == 0) factor[head] = f;
      }
      wide_barrier();
      const float2 f = *(const __local float2*)(factor + 2 * t);
      UNROLL for (int n = 0; n < 2; n++) o[n] *= (float4)(f.x, f.y, f.x, f.y);
      EACH for (int s = 0; s < 2; s++) {
        const __local uint* p = prob + g * PROB_PITCH + (v_slice * 2 + s) * 8 + t;
        const uint2 b = (uint2)(p[0], p[4]);
        const int key = r * TILE + (v_slice * 2 + s) * 16 + 2 * t;
        const uint4 v0 = seen_v(v[2 * s], key, w->first, w->last), v1 = seen_v(v[2 * s + 1], key + 8, w->first, w->last);
        o[0] = mma_16816((uint4)(v0.x, v0.y, v1.x, v1.y), b, o[0]);
        o[1] = mma_16816((uint4)(v0.z, v0.w, v1.z, v1.w), b, o[1]);
      }
      if (r + 1 < end) {
        LOAD_V(r + 1)
        LOOK_UP_V(r + 2)
      }
    }

    if (X_HW != 2 || warp < HEADS) sum = warp_sum(sum);
    if (warp < HEADS && lane == 0) most_sum[head] = (float2)(most, sum), last[head] = w->parts == 1 && head < w->heads ? last_factor(a, w, head, most, sum) : 1.0f;
    if (v_slice > 0) {
      __local float* to = part + ((v_slice - 1) * HEADS + 2 * t) * DIMS + v_d;
      *(__local float4*)to = (float4)(o[0].x, o[0].z, o[1].x, o[1].z);
      *(__local float4*)(to + DIMS) = (float4)(o[0].y, o[0].w, o[1].y, o[1].w);
    }
    wide_memory_barrier();  // the cache too has been read
    if (has_newest && w->slot >= 0) store_newest(a, w, newest);
    if (live && v_slice == 0) {
      UNROLL for (int h = 0; h < 2; h++) {
        const int of = 2 * t + h;
        float4 x = h ? (float4)(o[0].y, o[0].w, o[1].y, o[1].w) : (float4)(o[0].x, o[0].z, o[1].x, o[1].z);
        UNROLL for (int s = 1; s < V_SLICES; s++) x += *(const __local float4*)(part + ((s - 1) * HEADS + of) * DIMS + v_d);
        x *= (float4)(last[of]);
        if (of < w->heads && w->parts == 1) store_4(x, v_d, DIM, y_aligned(a), y_of(a, w, of));
        else if (of < w->heads && v_d < PADDED) *(__global float4*)((__global float*)a->part_o + ((w->unit * a->max_parts + w->part) * HEADS + of) * PADDED + v_d) = x;
      }
    }
    if (live && w->parts > 1 && tid < w->heads) scores_of(a, w, w->part, 0)[tid] = most_sum[tid];
    merge(a, w, live, flag);
  }
}
WIDE_KERNEL(attention_row, LOCALS)
