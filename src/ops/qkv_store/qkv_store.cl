// QkvStore (qkv_store.h). A work-group has heads of one kind, Q, K or V, each with `lanes` work-items; a work-item has four pairs
// of a head's elements: those that are rotated together, then the rest. Tasks of a group are heads of Q one after the other, or
// for K and V 2^tile tokens of some heads.
// F32: the cache holds float32, else bf16.
#include "phase.clh"
#define WG 256
#define P (F32 ? 1 : 2)
#define SUM_FLOATS (2 * WG)
#define ROW_FLOATS (8 * WG + 64)  // finished K: rows of 8 * lanes + 1, so that tokens are in different banks

typedef struct {
  ulong q, k, v, q_w, k_w, v_w, table, slots, pool, y;
  int4 qs, ks, vs, ys;
  long offset_words, block_words, head_words;
  int norms, weights;      // bit 0: of Q, 1: of K, 2: of V
  int tokens, heads, kv_heads, dim, padded, pairs, interleaved, lanes, tile, q_groups, kv_groups, block_tokens;
  float eps, w_offset;
} qkv_store_args;

// Elements `first` and `second` of a work-item's pairs, zeros past the end.
typedef struct {
  float4 first, second;
} quads;

FN float4 gather(const __global float* x, int4 at, int n) {
  const int4 c = min(at, (int4)(n - 1));
  return select((float4)(x[c.s0], x[c.s1], x[c.s2], x[c.s3]), (float4)(0.0f), at >= n);
}
FN void gather_head(const __global float* x, int4 first, int4 second, int n, quads* v) {
  v->first = gather(x, first, n);
  v->second = gather(x, second, n);
}
FN void scatter(__global float* y, int4 at, int n, float4 v) {
  if (at.s0 < n) y[at.s0] = v.s0;
  if (at.s1 < n) y[at.s1] = v.s1;
  if (at.s2 < n) y[at.s2] = v.s2;
  if (at.s3 < n) y[at.s3] = v.s3;
}
FN float square_sum(const quads* v) { return dot(v->first, v->first) + dot(v->second, v->second); }
FN void scale_head(quads* v, float sum, const quads* w, PHASE_ARGS qkv_store_args* a) {
  const float f = 1.0f / sqrt(sum / (float)a->dim + a->eps);
  v->first = v->first * f * w->first;
  v->second = v->second * f * w->second;
}
// Sum over the work-items of a head.
FN float head_sum(const __local float* part, int lanes) {
  const __local float4* own = (const __local float4*)(part + ((int)get_local_id(0) & ~(lanes - 1)));
  float4 s = own[0];
  for (int i = 1; i < lanes / 4; ++i) s += own[i];
  return (s.x + s.y) + (s.z + s.w);
}

// First word of a head's K (V follows) and the token within the block.
FN __global uint* slot_head(PHASE_ARGS qkv_store_args* a, int slot, int head, int* token) {
  const int block = slot / a->block_tokens;
  *token = slot - block * a->block_tokens;
  return (__global uint*)a->pool + a->offset_words + block * a->block_words + head * a->head_words;
}

// K of the group's tokens and heads from rows in local memory: a line of the cache has a word of each of 16 tokens.
FN void write_k(PHASE_ARGS qkv_store_args* a, const __local float* rows, int t0, int h0) {
  const __global int* slots = (const __global int*)a->slots;
  const int words = a->padded / P, tile = 1 << a->tile, total = WG / a->lanes * words;
  for (int i = (int)get_local_id(0); i < total; i += WG) {
    const int t = t0 + i % tile, word = i / tile % words, h = h0 + i / tile / words, slot = t < a->tokens && h < a->kv_heads ? slots[t] : -1;
    if (slot < 0) continue;
    int token;
    __global uint* to = slot_head(a, slot, h, &token) + (long)(token / 16) * 16 * words + word * 16 + token % 16;
    const __local float* from = rows + ((h - h0) * tile + i % tile) * (8 * a->lanes + 1) + word * P;
#if F32
    *to = as_uint(from[0]);
#else
    *to = (uint)f2bf(from[0]) | (uint)f2bf(from[1]) << 16;
#endif
  }
}

// Dimension d of V of a token, and of the one after it if it is even.
FN void write_v(__global uint* head, PHASE_ARGS qkv_store_args* a, int token, int d, float own, float next) {
  if (d >= a->padded) return;
  __global uint* to = head + (long)a->padded * a->block_tokens / P + (long)(d / 16) * 16 * a->block_tokens / P + token / P * 16 + d % 16;
#if F32
  *to = as_uint(own);
  if (token % 2 == 0) to[16] = as_uint(next);
#else
  if (token % 2 == 0) *to = (uint)f2bf(own) | (uint)f2bf(next) << 16;
  else ((__global ushort*)to)[1] = f2bf(own);
#endif
}
FN void write_v_quad(__global uint* head, PHASE_ARGS qkv_store_args* a, int token, int4 d, float4 own, float4 next) {
  write_v(head, a, token, d.s0, own.s0, next.s0);
  write_v(head, a, token, d.s1, own.s1, next.s1);
  write_v(head, a, token, d.s2, own.s2, next.s2);
  write_v(head, a, token, d.s3, own.s3, next.s3);
}

// The slot of a token whose V is to be written; -1: none. A pair of tokens that this call stores together belongs to the even one,
// which then says `both`: no two work-items write to the same word.
FN int slot_of_v(PHASE_ARGS qkv_store_args* a, int t, int live, int* both) {
  const __global int* slots = (const __global int*)a->slots;
  const int slot = live ? slots[t] : -1, even = slot % a->block_tokens % 2 == 0, after = min(t + 1, a->tokens - 1), before = max(t - 1, 0);
  *both = slot >= 0 && even && after > t && slots[after] == slot + 1;
  return !even && before < t && slots[before] == slot - 1 ? -1 : slot;
}

FN int kind_of(PHASE_ARGS qkv_store_args* a, int group) { return group < a->q_groups ? 0 : group < a->q_groups + a->kv_groups ? 1 : 2; }

// What a norm multiplies with.
FN void load_weights(PHASE_ARGS qkv_store_args* a, int kind, int4 first, int4 second, quads* w) {
  w->first = w->second = (float4)(1.0f);
  if (!(a->weights >> kind & 1)) return;
  gather_head((const __global float*)(kind == 0 ? a->q_w : kind == 1 ? a->k_w : a->v_w), first, second, a->dim, w);
  w->first += a->w_offset;
  w->second += a->w_offset;
}

// Cosines and sines of a token's pairs; what is not rotated has 1 and 0.
FN void load_rotation(PHASE_ARGS qkv_store_args* a, int t, int4 j, float4* c, float4* s) {
  *c = (float4)(1.0f), *s = (float4)(0.0f);
  if (!a->pairs) return;
  const __global float *cosines = (const __global float*)a->table + (long)t * 2 * a->pairs, *sines = cosines + a->pairs;
  const int4 at = min(j, (int4)(a->pairs - 1)), still = j >= a->pairs;
  *c = select((float4)(cosines[at.s0], cosines[at.s1], cosines[at.s2], cosines[at.s3]), *c, still);
  *s = select((float4)(sines[at.s0], sines[at.s1], sines[at.s2], sines[at.s3]), *s, still);
}
FN void rotate_head(quads* v, float4 c, float4 s) {
  const float4 x = v->first, y = v->second;
  v->first = fma(x, c, -(y * s));
  v->second = fma(y, c, x * s);
}

FN void qkv_store_body(PHASE_ARGS qkv_store_args* a, Groups g, __local float* mem, Wait wait) {
  const int lid = (int)get_local_id(0), lanes = a->lanes, task = lid / lanes, R = a->pairs, dim = a->dim;
  const int4 j = (int4)(0, 1, 2, 3) * lanes + lid % lanes;  // pairs
  const int4 rotated = j < R;
  const int4 first = select(j + R, a->interleaved ? 2 * j : j, rotated), second = select(j + 4 * lanes, a->interleaved ? 2 * j + 1 : j + R, rotated);
  __local float *rows = mem + SUM_FLOATS, *row = rows + task * (8 * lanes + 1);
  quads w;
  load_weights(a, kind_of(a, g.first), first, second, &w);
  phase_wait(wait);
  for (int i = g.first; i < g.count; i += g.step) {
    const int kind = kind_of(a, i);
    if (i != g.first) load_weights(a, kind, first, second, &w);
    int t, h, live, t0 = 0, h0 = 0;
    if (kind == 0) {
      const int all = i * (WG / lanes) + task, of = min(all, a->tokens * a->heads - 1);
      t = of / a->heads, h = of % a->heads, live = all == of;
    } else {
      const int heads = WG / lanes >> a->tile, across = (a->kv_heads + heads - 1) / heads, at = i - a->q_groups - (kind == 2 ? a->kv_groups : 0);
      t0 = at / across << a->tile, h0 = at % across * heads;
      const int all_t = t0 + (task & ((1 << a->tile) - 1)), all_h = h0 + (task >> a->tile);
      t = min(all_t, a->tokens - 1), h = min(all_h, a->kv_heads - 1), live = t == all_t && h == all_h;
    }
    const int4 strides = kind == 0 ? a->qs : kind == 1 ? a->ks : a->vs;
    const __global float* x = (const __global float*)(kind == 0 ? a->q : kind == 1 ? a->k : a->v) + (long)t * strides.x + (long)h * strides.y;
    int slot = -1, both = 0;  // of V
    if (kind == 2) slot = slot_of_v(a, t, live, &both);
    quads v, next;            // of V, the next token's if it belongs to this one
    gather_head(x, first, second, dim, &v);
    next.first = next.second = (float4)(0.0f);
    if (both) gather_head(x + strides.x, first, second, dim, &next);
    float4 c, s;
    if (kind != 2) load_rotation(a, t, j, &c, &s);

    mem[lid] = square_sum(&v);
    mem[WG + lid] = square_sum(&next);
    wg_barrier();
    if (a->norms >> kind & 1) {
      scale_head(&v, head_sum(mem, lanes), &w, a);
      scale_head(&next, head_sum(mem + WG, lanes), &w, a);
    }
    if (kind != 2) rotate_head(&v, c, s);
    if (kind == 0 && live) {
      __global float* y = (__global float*)a->y + (long)t * a->ys.x + (long)h * a->ys.y;
      scatter(y, first, dim, v.first);
      scatter(y, second, dim, v.second);
    }
    if (kind == 1) {
      row[first.s0] = v.first.s0, row[first.s1] = v.first.s1, row[first.s2] = v.first.s2, row[first.s3] = v.first.s3;
      row[second.s0] = v.second.s0, row[second.s1] = v.second.s1, row[second.s2] = v.second.s2, row[second.s3] = v.second.s3;
    }
    if (slot >= 0) {
      int token;
      __global uint* to = slot_head(a, slot, h, &token);
      write_v_quad(to, a, token, first, v.first, next.first);
      write_v_quad(to, a, token, second, v.second, next.second);
    }
    wg_barrier();
    if (kind == 1) write_k(a, rows, t0, h0);
  }
}
RANGE_KERNEL(qkv_store, SUM_FLOATS + ROW_FLOATS)
