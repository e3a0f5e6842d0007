// Sample and TakeTokens (sample.h). Sample takes four phases or launches: sample_chunks changes the logits and takes the best of every
// chunk and the weight of its others; sample_cut, in a file of its own, finds which tokens stay, the log-probabilities, and the
// token where none is drawn; sample_weigh sums what stays of every chunk; sample_pick draws. Only sample_cut and sample_pick have
// one work-group a row.
#define WG 256
#define ITEM ((int)get_local_id(0))
#define ITEM_BARRIER wg_barrier()
#include "sample.clh"

// ---------------------------------------------------------------- chunks
// Penalties of this chunk's tokens. seen: CHUNK counters.
FN void penalise(const __global SampleRow* p, const __global int* history, __global float* l, int from, int n, __local int* seen) {
  const int lid = (int)get_local_id(0);
  for (int j = lid; j < n; j += WG) seen[j] = 0;
  wg_barrier();
  for (int i = p->prompt_tokens + lid; i < p->position; i += WG) {
    const int j = history[i] - from;
    if (j >= 0 && j < n) atomic_inc(&seen[j]);
  }
  wg_barrier();
  for (int j = lid; j < n; j += WG)
    if (seen[j]) {
      const float v = l[j] - (float)seen[j] * p->frequency_penalty - p->presence_penalty;
      l[j] = v > 0.0f ? v / p->repetition_penalty : v * p->repetition_penalty;
    }
  wg_barrier();
}

// Adds this chunk's adjustments, those of the same token in their order: each round finds the next one of every token.
FN void adjust(int begin, int end, const __global int* ids, const __global float* add, __global float* l, int from, int n, __local int* next, __local int* last, __local int* left) {
  const int lid = (int)get_local_id(0);
  for (int j = lid; j < n; j += WG) last[j] = -1;
  for (;;) {
    for (int j = lid; j < n; j += WG) next[j] = INT_MAX;
    if (lid == 0) *left = 0;
    wg_barrier();
    for (int i = begin + lid; i < end; i += WG) {
      const int j = ids[i] - from;
      if (j >= 0 && j < n && i > last[j]) atomic_min(&next[j], i);
    }
    wg_barrier();
    for (int j = lid; j < n; j += WG)
      if (next[j] != INT_MAX) {
        l[j] += add[next[j]];
        last[j] = next[j];
        atomic_or(left, 1);
      }
    wg_barrier();
    const int again = *left;
    wg_barrier();
    if (!again) break;
  }
}

typedef struct {
  ulong part[PART(WG)];
  int seen[CHUNK], last[CHUNK], left;
  float part_weight[PART(WG)];
} ChunkMemory;
typedef struct {
  ulong logits; long stride; int size, chunks; ulong rows, adjust_ids, adjust_add, pool; long pool_stride; ulong chunk_best, chunk_weight;
} sample_chunks_args;

FN void sample_chunks_body(PHASE_ARGS sample_chunks_args* a, int3 at, __local float* mem) {
  __local ChunkMemory* m = (__local ChunkMemory*)mem;
  const int row = at.x / a->chunks, from = at.x % a->chunks * CHUNK, n = min(CHUNK, a->size - from), lid = (int)get_local_id(0);
  const __global SampleRow* p = (const __global SampleRow*)a->rows + row;
  __global float* l = (__global float*)a->logits + (long)row * a->stride + from;
  if (p->target < 0) {
    if (p->position > p->prompt_tokens && (p->frequency_penalty != 0.0f || p->presence_penalty != 0.0f || p->repetition_penalty != 1.0f))
      penalise(p, (const __global int*)a->pool + (long)p->slot * a->pool_stride, l, from, n, m->seen);
    if (p->adjust_end > p->adjust_begin) adjust(p->adjust_begin, p->adjust_end, (const __global int*)a->adjust_ids, (const __global float*)a->adjust_add, l, from, n, m->seen, m->last, &m->left);
  }
  // Work-items have touched only their own logits so far, and read the same ones now.
  float v[CHUNK / WG];
  UNROLL for (int u = 0; u < CHUNK / WG; ++u) {
    const int j = u * WG + lid;
    v[u] = j < n ? l[j] : -INFINITY;
  }
  ulong best = 0;
  UNROLL for (int u = 0; u < CHUNK / WG; ++u) {
    const int j = u * WG + lid;
    if (j < n) best = max(best, (ulong)order_key(v[u]) << 32 | (uint)~(from + j));  // the lowest id of the largest
  }
  best = reduce_max(m->part, best, WG);
  const float most = key_value((uint)(best >> 32)), t = row_temperature(p);
  float weight = 0.0f;
  if (isfinite(most)) {
    UNROLL for (int u = 0; u < CHUNK / WG; ++u)
      if ((uint)(from + u * WG + lid) != ~(uint)best) weight += exp((v[u] - most) / t);
  }
  weight = reduce_sum(m->part_weight, weight, WG);
  if (lid == 0) {
    ((__global ulong*)a->chunk_best)[at.x] = best;
    ((__global float*)a->chunk_weight)[at.x] = weight;
  }
}
PHASE_KERNEL(sample_chunks, sizeof(ChunkMemory) / sizeof(float))

// ---------------------------------------------------------------- draw
typedef struct {
  ulong logits; long stride; int size, chunks; ulong rows, states, chunk_stay;
} sample_weigh_args;

FN void sample_weigh_body(PHASE_ARGS sample_weigh_args* a, int3 at, __local float* mem) {
  __local ulong* part = (__local ulong*)mem;
  const int row = at.x / a->chunks, from = at.x % a->chunks * CHUNK, n = min(CHUNK, a->size - from), lid = (int)get_local_id(0);
  const __global SampleRow* p = (const __global SampleRow*)a->rows + row;
  const __global RowState* s = (const __global RowState*)a->states + row;
  const __global float* l = (const __global float*)a->logits + (long)row * a->stride + from;
  if (s->draws) {
    float v[CHUNK / WG];
    UNROLL for (int u = 0; u < CHUNK / WG; ++u) v[u] = l[min(u * WG + lid, n - 1)];
    ulong stay = 0;
    UNROLL for (int u = 0; u < CHUNK / WG; ++u) {
      const int j = u * WG + lid;
      if (j < n && row_keeps(p, s, v[u], from + j)) stay += fixed_weight(v[u], s->best, s->temperature);
    }
    ulong all;
    scan_sum(part, stay, WG, &all);
    if (lid == 0) ((__global ulong*)a->chunk_stay)[at.x] = all;
  }
}
PHASE_KERNEL(sample_weigh, 2 * PART(WG))

// floor(sample_uniform(...) * stay): a sum of weights exceeds the product when it exceeds this.
FN ulong drawn_point(const __global SampleRow* p, ulong stay) {
  ulong z = ((ulong)p->seed_hi << 32 | p->seed_lo) + 0x9e3779b97f4a7c15UL * ((ulong)(uint)p->position + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
  z ^= z >> 31;
  return mul_hi(z & ~(ulong)0x7ff, stay);
}

typedef struct {
  ulong part[PART(WG)], before;
  int chunk, picked;
} PickMemory;
typedef struct {
  ulong logits; long stride; int size, chunks; ulong rows, states, chunk_stay, pool; long pool_stride; ulong tokens, logprobs;
} sample_pick_args;

FN void sample_pick_body(PHASE_ARGS sample_pick_args* a, int3 at, __local float* mem) {
  __local PickMemory* m = (__local PickMemory*)mem;
  const int row = at.x, lid = (int)get_local_id(0), size = a->size, chunks = a->chunks;
  const __global SampleRow* p = (const __global SampleRow*)a->rows + row;
  const __global RowState* s = (const __global RowState*)a->states + row;
  const __global float* l = (const __global float*)a->logits + (long)row * a->stride;
  const __global ulong* chunk_stay = (const __global ulong*)a->chunk_stay + (long)row * chunks;
  if (lid == 0) {
    m->chunk = -1;
    m->picked = s->token;
  }
  if (s->draws) {
    // Each work-item has a run of chunks, then a run of the tokens of one m->chunk.
    const int run = (chunks + WG - 1) / WG;
    ulong sum = 0, all;
    for (int c = lid * run; c < min((lid + 1) * run, chunks); ++c) sum += chunk_stay[c];
    ulong at = scan_sum(m->part, sum, WG, &all) - sum;
    const ulong point = drawn_point(p, all);
    for (int c = lid * run; c < min((lid + 1) * run, chunks) && at <= point; ++c) {
      const ulong past = at + chunk_stay[c];
      if (past > point) {
        m->chunk = c;
        m->before = at;
      }
      at = past;
    }
    wg_barrier();
    const int from = max(m->chunk, 0) * CHUNK + lid * (CHUNK / WG), end = m->chunk < 0 ? 0 : min(from + CHUNK / WG, size);
    sum = 0;
    for (int i = from; i < end; ++i)
      if (row_keeps(p, s, l[i], i)) sum += fixed_weight(l[i], s->best, s->temperature);
    at = (m->chunk < 0 ? 0 : m->before) + scan_sum(m->part, sum, WG, &all) - sum;
    for (int i = from; i < end && at <= point; ++i) {
      if (!row_keeps(p, s, l[i], i)) continue;
      at += fixed_weight(l[i], s->best, s->temperature);
      if (at > point) m->picked = i;
    }
  }
  wg_barrier();
  if (lid == 0 && s->valid) {
    ((__global int*)a->tokens)[row] = m->picked;
    if (p->want_logprob && m->picked >= 0) ((__global float*)a->logprobs)[row] = (l[min(m->picked, size - 1)] - s->best) / s->temperature - s->log_total;
    if (p->target < 0) ((__global int*)a->pool)[(long)p->slot * a->pool_stride + p->position] = m->picked;
  }
}
PHASE_KERNEL(sample_pick, sizeof(PickMemory) / sizeof(float))

// ---------------------------------------------------------------- TakeTokens
typedef struct {
  ulong pool; long pool_stride; ulong slots, positions, tokens; int count;
} take_tokens_args;

FN void take_tokens_body(PHASE_ARGS take_tokens_args* a, int3 at, __local float* mem) {
  const int t = at.x * WG + (int)get_local_id(0);
  if (t >= a->count) return;
  const int slot = ((const __global int*)a->slots)[t];
  ((__global int*)a->tokens)[t] = slot < 0 ? 0 : ((const __global int*)a->pool)[(long)slot * a->pool_stride + ((const __global int*)a->positions)[t]];
}
PHASE_KERNEL(take_tokens, 0)
