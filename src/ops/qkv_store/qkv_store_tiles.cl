// QkvStore (qkv_store.h) of many tokens: a work-group has heads of one kind, Q, K or V, of a tile of 16 tokens. A work-item has two
// quads of a head, four pairs where they are rotated, of two heads at a time, all of which it asks for before the first sum.
//   F32          the cache holds float32, else bf16
//   LANES        work-items of a head: an eighth of its numbers, rounded up to a power of two, 4 to 64
//   INTERLEAVED  pairs are neighbours
#include "phase.clh"
#include "mma.clh"
#define WG 256
#define P (F32 ? 1 : 2)
#define TILE 16
#define AT_ONCE (WG / LANES)                        // heads
#define TOKENS (AT_ONCE < TILE ? AT_ONCE : TILE)    // of Q at once
#define ACROSS (AT_ONCE / TOKENS)                   // heads of Q beside each other
#define SPLIT (TILE / TOKENS)                       // work-groups for the tokens of a tile of Q
#define KV_HEADS (AT_ONCE > 8 ? AT_ONCE / 8 : 1)    // of a work-group
#define KV_ROUNDS (AT_ONCE < 8 ? 8 / AT_ONCE : 1)
#define PITCH (8 * LANES / P + 4 / P)               // words of a token's K: tokens in different banks
#define ROW_WORDS (KV_HEADS * TILE * PITCH)
#define SUM_WORDS (LANES > SG ? 4 * (WG / SG) : 0)  // of two heads, twice: one is read while the next one is written
#define LANE_WORDS (X_HW == 0 ? 8 * WG : 0)         // for emulated lanes
#if X_HW == 2
#define lane_xor(x, m) as_float(nv_bfly(as_uint(x), m))
#define anew(i) asm volatile("" : "+r"(i))  // addresses of a round are computed in it, or they take a quarter of the registers
#else
#define lane_xor(x, m) sg_shuffle(x, get_sub_group_local_id() ^ (m))
#define anew(i)
#endif

typedef struct {
  ulong q, k, v, q_w, k_w, v_w, table, slots, pool, y;
  int4 qs, ks, vs, ys;
  long offset_words, block_words, head_words;
  int norms, weights;  // bit 0: of Q, 1: of K, 2: of V
  int tokens, heads, kv_heads, dim, padded, pairs, q_parts, q_rounds, kv_parts, block_tokens;
  float per_dim, eps, w_offset;  // per_dim: 1 / dim
} qkv_store_tiles_args;

typedef struct {
  float4 first, second;
} quads;

// Zeros past the end, where nothing is read: rows change in place.
FN float4 load_quad(const __global float* x, int at, int n) { return at < n ? *(const __global float4*)(x + at) : (float4)(0.0f); }
FN void load_head(const __global float* x, int2 at, int n, quads* v) {
  v->first = load_quad(x, at.x, n);
  v->second = load_quad(x, at.y, n);
}
FN float square_sum(const quads* v) { return dot(v->first, v->first) + dot(v->second, v->second); }

// What a norm multiplies with.
FN void load_weights(PHASE_ARGS qkv_store_tiles_args* a, int kind, int2 at, quads* w) {
  w->first = w->second = (float4)(1.0f);
  if (!(a->weights >> kind & 1)) return;
  load_head((const __global float*)(kind == 0 ? a->q_w : kind == 1 ? a->k_w : a->v_w), at, a->dim, w);
  w->first += a->w_offset;
  w->second += a->w_offset;
}
FN void scale_head(quads* v, float sum, const quads* w, PHASE_ARGS qkv_store_tiles_args* a) {
  const float f = rsqrt(sum * a->per_dim + a->eps);
  v->first = v->first * f * w->first;
  v->second = v->second * f * w->second;
}

// Cosines and sines of four pairs of a token; what is not rotated has 1 and 0.
FN void load_rotation(const __global float* table, int t, int j, int pairs, quads* r) {
  r->first = (float4)(1.0f), r->second = (float4)(0.0f);
  if (j < pairs) {
    const __global float* at = table + (long)t * 2 * pairs + j;
    r->first = *(const __global float4*)at;
    r->second = *(const __global float4*)(at + pairs);
  }
}
FN void rotate_head(quads* v, const quads* r) {
#if INTERLEAVED
  const float4 x = (float4)(v->first.x, v->first.z, v->second.x, v->second.z), y = (float4)(v->first.y, v->first.w, v->second.y, v->second.w);
#else
  const float4 x = v->first, y = v->second;
#endif
  const float4 a = fma(x, r->first, -(y * r->second)), b = fma(y, r->first, x * r->second);
#if INTERLEAVED
  v->first = (float4)(a.x, b.x, a.y, b.y);
  v->second = (float4)(a.z, b.z, a.w, b.w);
#else
  v->first = a;
  v->second = b;
#endif
}

// Four numbers of a token's K into local memory, as the cache's words.
FN void keep_quad(__local uint* row, int at, float4 v) {
#if F32
  *(__local uint4*)(row + at) = as_uint4(v);
#else
  *(__local uint2*)(row + at / 2) = (uint2)(bf_pair(v.x, v.y), bf_pair(v.z, v.w));
#endif
}

FN int slot_at(PHASE_ARGS qkv_store_tiles_args* a, int t) { return t >= 0 && t < a->tokens ? ((const __global int*)a->slots)[t] : -1; }
// First word of a slot's K of a head (V follows) and the token within the block.
FN __global uint* slot_head(PHASE_ARGS qkv_store_tiles_args* a, int slot, int head, int* token) {
  const int block = slot / a->block_tokens;
  *token = slot - block * a->block_tokens;
  return (__global uint*)a->pool + a->offset_words + block * a->block_words + head * a->head_words;
}

// Four dimensions of V of a token, and of the one after it if it is even. v: the head's V.
FN void store_v_quad(__global uint* v, PHASE_ARGS qkv_store_tiles_args* a, int token, int d, float4 own, float4 next) {
  if (d >= a->padded) return;
  __global uint* to = v + (long)(d / 16) * 16 * a->block_tokens / P + token / P * 16 + d % 16;
#if F32
  ST4(as_uint4(own), to);
  if (token % 2 == 0) ST4(as_uint4(next), to + 16);
#else
  if (token % 2 == 0) {
    ST4((uint4)(bf_pair(own.x, next.x), bf_pair(own.y, next.y), bf_pair(own.z, next.z), bf_pair(own.w, next.w)), to);
  } else {
    __global ushort* high = (__global ushort*)to + 1;
    high[0] = f2bf(own.x), high[2] = f2bf(own.y), high[4] = f2bf(own.z), high[6] = f2bf(own.w);
  }
#endif
}
FN void store_v(PHASE_ARGS qkv_store_tiles_args* a, int slot, int head, int2 at, const quads* x) {
  int token;
  __global uint* to = slot_head(a, slot, head, &token) + (long)a->padded * a->block_tokens / P;
  store_v_quad(to, a, token, at.x, x[0].first, x[1].first);
  store_v_quad(to, a, token, at.y, x[0].second, x[1].second);
}
// The same from V itself, for tokens that are few: each work-item sums the whole head up. both: the next token's too.
FN void load_and_store_v(PHASE_ARGS qkv_store_tiles_args* a, int slot, int both, int t, int head, int2 at) {
  quads x[2], w;
  UNROLL for (int i = 0; i < 2; i++) {
    const __global float* from = (const __global float*)a->v + (long)(t + i) * a->vs.x + (long)head * a->vs.y;
    const int n = i == 0 || both ? a->dim : 0;
    load_head(from, at, n, &x[i]);
    if (a->norms & 4) {
      float sum = 0.0f;
      for (int d = 0; d < n; d += 4) sum += dot(*(const __global float4*)(from + d), *(const __global float4*)(from + d));
      load_weights(a, 2, at, &w);
      scale_head(&x[i], sum, &w, a);
    }
  }
  store_v(a, slot, head, at, x);
}

// The sums of both heads over their work-items, from each one's. Barriers.
#if LANES <= SG
#define HEAD_SUMS(s, round)                                             \
  UNROLL for (int m = LANES / 2; m > 0; m /= 2) {                       \
    const float other0 = lane_xor(s.x, m), other1 = lane_xor(s.y, m);   \
    s += (float2)(other0, other1);                                      \
  }
#else
#define HEAD_SUMS(s, round)                                                                             \
  {                                                                                                     \
    const float all0 = sub_group_reduce_add(s.x), all1 = sub_group_reduce_add(s.y);                     \
    __local float2* sums = (__local float2*)(rows + ROW_WORDS) + (round) % 2 * (WG / SG);               \
    if (lid % SG == 0) sums[lid / SG] = (float2)(all0, all1);                                           \
    wg_barrier();                                                                                       \
    s = sums[task * (LANES / SG)];                                                                      \
    UNROLL for (int i = 1; i < LANES / SG; i++) s += sums[task * (LANES / SG) + i];                     \
  }
#endif

// Part `part` of the heads of a kind, 0 Q, 1 K, 2 V, of the tile at token t0.
FN void tile_part(PHASE_ARGS qkv_store_tiles_args* a, int kind, int part, int t0, __local uint* rows) {
#if X_HW == 0
  __local uint* sgx_ = rows + ROW_WORDS + SUM_WORDS;
#endif
  const int lid = (int)get_local_id(0), lane = lid % LANES, task = lid / LANES, h0 = part * KV_HEADS;
  const int tokens = a->tokens, dim = a->dim, heads = kind == 0 ? a->heads : a->kv_heads, rounds = kind == 0 ? a->q_rounds : KV_ROUNDS;
  const int4 strides = kind == 0 ? a->qs : kind == 1 ? a->ks : a->vs;
  const __global float* from = (const __global float*)(kind == 0 ? a->q : kind == 1 ? a->k : a->v);
  const __global float* table = (const __global float*)a->table;
  const int j = 4 * lane, pairs = kind == 2 ? 0 : a->pairs;
  // Of the quads in a head.
  const int2 at = INTERLEAVED && kind != 2 ? (int2)(2 * j, 2 * j + 4) : j < pairs ? (int2)(j, j + pairs) : (int2)(j + pairs, j + 4 * LANES);
  const int line_slot = kind == 1 ? slot_at(a, t0 + lid % TILE) : -1;  // of the token whose words of K this work-item writes
  quads turn;
  for (int n = 0; n < rounds; n++) {
    int round = n;
    anew(round);
    int t[2], h[2];
    int slot = -1, other = -1, after = -1;  // of V: where to; of the second token if that remains, and of the one after it
    if (kind == 0) {
      t[0] = t[1] = t0 + part % SPLIT * TOKENS + task % TOKENS;
      h[0] = (part / SPLIT * rounds + round) * 2 * ACROSS + task / TOKENS, h[1] = h[0] + ACROSS;
    } else if (kind == 1) {
      UNROLL for (int i = 0; i < 2; i++) {
        const int e = (2 * round + i) * AT_ONCE + task;
        t[i] = t0 + e % TILE, h[i] = h0 + e / TILE;
      }
    } else {
      // Two tokens of which most often exactly one begins something: a pair that shares words of the cache, or a token alone.
      const int e = round * AT_ONCE + task, here = t0 + e % 8 * 2, before = slot_at(a, here - 1), own = slot_at(a, here);
      other = slot_at(a, here + 1), after = slot_at(a, here + 2);
      h[0] = h[1] = h0 + e / 8;
      const int takes_own = own >= 0 && !(own % 2 == 1 && before == own - 1), takes_other = other >= 0 && !(other % 2 == 1 && own == other - 1);
      slot = h[0] >= heads ? -1 : takes_own ? own : takes_other ? other : -1;
      const int next = takes_own ? other : after;
      t[0] = slot < 0 ? tokens : takes_own ? here : here + 1;
      t[1] = slot >= 0 && slot % 2 == 0 && next == slot + 1 ? t[0] + 1 : tokens;
      if (slot < 0 || !takes_own || !takes_other) other = -1;
    }
    quads x[2], w;
    UNROLL for (int i = 0; i < 2; i++) load_head(from + (long)t[i] * strides.x + (long)h[i] * strides.y, at, t[i] < tokens && h[i] < heads ? dim : 0, &x[i]);
    if (round == 0 || kind == 1) load_rotation(table, t[0], j, t[0] < tokens ? pairs : 0, &turn);
    if (a->norms >> kind & 1) load_weights(a, kind, at, &w);

    float2 s = (float2)(square_sum(&x[0]), square_sum(&x[1]));
    HEAD_SUMS(s, round)
    if (a->norms >> kind & 1) {
      scale_head(&x[0], s.x, &w, a);
      scale_head(&x[1], s.y, &w, a);
    }
    if (kind == 2) {
      if (slot >= 0) store_v(a, slot, h[0], at, x);
      if (other >= 0) load_and_store_v(a, other, other % 2 == 0 && after == other + 1, t[0] + 1, h[0], at);
    } else {
      UNROLL for (int i = 0; i < 2; i++) {
        if (AT_ONCE < TILE && kind == 1 && i == 1) load_rotation(table, t[1], j, t[1] < tokens ? pairs : 0, &turn);
        rotate_head(&x[i], &turn);
        if (kind == 1) {
          __local uint* row = rows + ((2 * round + i) * AT_ONCE + task) * PITCH;
          keep_quad(row, at.x, x[i].first);
          keep_quad(row, at.y, x[i].second);
        } else if (t[i] < tokens && h[i] < heads) {
          __global float* to = (__global float*)a->y + (long)t[i] * a->ys.x + (long)h[i] * a->ys.y;
          if (at.x < dim) *(__global float4*)(to + at.x) = x[i].first;
          if (at.y < dim) *(__global float4*)(to + at.y) = x[i].second;
        }
      }
    }
  }
  wg_barrier();
  if (line_slot >= 0) {  // a line of the cache has a word of each of 16 tokens
    const int words = a->padded / P;
    int token;
    __global uint* to = slot_head(a, line_slot, h0, &token);
    to += (long)(token / 16) * 16 * words + token % 16;
    for (int h = 0; h < min(KV_HEADS, heads - h0); h++)
      for (int i = lid / TILE; i < words; i += WG / TILE) to[h * a->head_words + i * 16] = rows[(h * TILE + lid % TILE) * PITCH + i];
  }
}

FN void qkv_store_tiles_body(PHASE_ARGS qkv_store_tiles_args* a, int3 at, __local float* mem) {
  const int kind = at.x < a->q_parts ? 0 : at.x < a->q_parts + a->kv_parts ? 1 : 2;
  const int part = kind == 0 ? at.x : kind == 1 ? at.x - a->q_parts : at.x - a->q_parts - a->kv_parts, t0 = at.y * TILE;
  __local uint* rows = (__local uint*)mem;
#if X_HW == 0 || X_HW == 3
  tile_part(a, kind, part, t0, rows);  // compilers for CPUs have run barriers in branches wrongly
#else
  // A copy for each kind takes far fewer registers than one for all.
  if (kind == 0) tile_part(a, 0, part, t0, rows);
  else if (kind == 1) tile_part(a, 1, part, t0, rows);
  else tile_part(a, 2, part, t0, rows);
#endif
}
PHASE_KERNEL(qkv_store_tiles, ROW_WORDS + SUM_WORDS + LANE_WORDS)
