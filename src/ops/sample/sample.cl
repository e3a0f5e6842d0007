// Sample and TakeTokens (sample.h). Sample takes four launches: sample_chunks changes the logits and takes the best of every chunk
// and the weight of its others; sample_cut finds which tokens stay, the log-probabilities, and the token where none is drawn;
// sample_weigh sums what stays of every chunk; sample_pick draws. Only sample_cut and sample_pick have one work-group a row.
#include "sample.clh"
#define CHUNK 2048      // kChunk of sample.gpu.cpp
#define WG 256
#define CUT_WG 512
#define BUCKETS 2048
#define TOP 20          // kMaxTopLogprobs

// ---------------------------------------------------------------- chunks
// Penalties of this chunk's tokens. seen: CHUNK counters.
FN void penalise(__global const SampleRow* p, __global const int* history, __global float* l, int from, int n, __local int* seen) {
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
FN void adjust(int begin, int end, __global const int* ids, __global const float* add, __global float* l, int from, int n, __local int* next, __local int* last, __local int* left) {
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

__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void sample_chunks(__global float* logits, long stride, int size, int chunks, __global const SampleRow* rows, __global const int* adjust_ids, __global const float* adjust_add,
                   __global const int* pool, long pool_stride, __global ulong* chunk_best, __global float* chunk_weight) {
  __local int seen[CHUNK], last[CHUNK], left;
  __local ulong part[PART(WG)];
  __local float part_weight[PART(WG)];
  const int row = (int)get_group_id(0) / chunks, from = (int)get_group_id(0) % chunks * CHUNK, n = min(CHUNK, size - from), lid = (int)get_local_id(0);
  __global const SampleRow* p = rows + row;
  __global float* l = logits + (long)row * stride + from;
  if (p->target < 0) {
    if (p->position > p->prompt_tokens && (p->frequency_penalty != 0.0f || p->presence_penalty != 0.0f || p->repetition_penalty != 1.0f))
      penalise(p, pool + (long)p->slot * pool_stride, l, from, n, seen);
    if (p->adjust_end > p->adjust_begin) adjust(p->adjust_begin, p->adjust_end, adjust_ids, adjust_add, l, from, n, seen, last, &left);
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
  best = reduce_max(part, best, WG);
  const float most = key_value((uint)(best >> 32)), t = row_temperature(p);
  float weight = 0.0f;
  if (isfinite(most)) {
    UNROLL for (int u = 0; u < CHUNK / WG; ++u)
      if ((uint)(from + u * WG + lid) != ~(uint)best) weight += exp((v[u] - most) / t);
  }
  weight = reduce_sum(part_weight, weight, WG);
  if (lid == 0) {
    chunk_best[get_group_id(0)] = best;
    chunk_weight[get_group_id(0)] = weight;
  }
}

// ---------------------------------------------------------------- cut
typedef uint2 Cut;  // order_key and id of the last token that stays

typedef struct {
  ulong part[PART(CUT_WG)], found_weight;
  uint count[BUCKETS], low[BUCKETS], high[BUCKETS];  // weights in two words: local atomics have 32 bits
  uint found_count, list_key[TOP];
  int found, list_id[TOP], listed;
} CutMemory;

// In descending order (ties to the lower id) a token stays when fewer than k stand before it and those before it weigh at most
// `limit`: a prefix of that order, named by its last token. It is found by counting, without sorting: distances from the best
// are divided into buckets; the first bucket after which one of the conditions fails holds the cut and is divided again. The
// equal tokens of the last bucket are walked the same way by their ids. The first buckets span a window near the best only,
// which most tokens are outside of.
FN Cut find_cut(__local CutMemory* m, __global const float* l, int size, uint best_key, float best, float temperature, int k, ulong limit, int weighs, float window) {
  const int lid = (int)get_local_id(0);
  Cut cut = (Cut)(0, (uint)size - 1);
  int by_id = 0;                      // dividing ids of tokens whose key is cut.x, else distances
  uint begin = 0, end = best_key - order_key(best - window);  // the last
  uint count = 0;                     // of the tokens before `begin`, all of which stay
  ulong weight = 0;
  for (;;) {
    const int shift = max(0, 32 - (int)clz(end - begin) - 11);
    for (int b = lid; b < BUCKETS; b += CUT_WG) m->count[b] = m->low[b] = m->high[b] = 0;
    wg_barrier();
    const int first = by_id ? (int)begin : 0, past = by_id ? (int)end + 1 : size;
    for (int i = first + lid; i < past; i += CUT_WG * 8) {
      float v[8];
      UNROLL for (int u = 0; u < 8; ++u) v[u] = l[min(i + u * CUT_WG, past - 1)];
      UNROLL for (int u = 0; u < 8; ++u) {
        const uint key = order_key(v[u]), at = by_id ? (uint)(i + u * CUT_WG) : best_key - key;
        if (i + u * CUT_WG >= past || at < begin || at > end || (by_id && key != cut.x)) continue;
        const uint b = (at - begin) >> shift;
        atomic_inc(&m->count[b]);
        if (weighs && !by_id) {
          const ulong w = fixed_weight(v[u], best, temperature);
          const uint low = (uint)w, old = atomic_add(&m->low[b], low), high = (uint)(w >> 32) + (old + low < old);
          if (high) atomic_add(&m->high[b], high);
        }
      }
    }
    if (lid == 0) m->found = -1;
    wg_barrier();
    // Each work-item walks a run of buckets, from the sums of those before it.
    const int run = BUCKETS / CUT_WG;
    uint n = 0;
    ulong w = 0;
    for (int b = lid * run; b < (lid + 1) * run; ++b) n += m->count[b], w += (ulong)m->high[b] << 32 | m->low[b];
    ulong n_all, w_all;
    uint n_before = count + (uint)scan_sum(m->part, n, CUT_WG, &n_all) - n;
    ulong w_before = weight + scan_sum(m->part, w, CUT_WG, &w_all) - w;
    for (int b = lid * run; b < (lid + 1) * run && n_before < (uint)k && w_before <= limit; ++b) {
      const uint n_after = n_before + m->count[b];
      const ulong w_after = w_before + ((ulong)m->high[b] << 32 | m->low[b]);
      if (n_after >= (uint)k || w_after > limit) {
        m->found = b;
        m->found_count = n_before;
        m->found_weight = w_before;
      }
      n_before = n_after;
      w_before = w_after;
    }
    wg_barrier();
    const int found = m->found;
    if (found < 0) {
      wg_barrier();
      if (by_id || end == best_key) return cut;  // all stay
      count += (uint)n_all;
      weight += w_all;
      begin = end + 1;
      end = best_key;
      continue;
    }
    const uint equal = m->count[found];
    const ulong each = ((ulong)m->high[found] << 32 | m->low[found]) / max(equal, 1u);
    count = m->found_count;
    weight = m->found_weight;
    wg_barrier();
    begin += (uint)found << shift;
    end = min(end, begin + ((1u << shift) - 1u));
    if (shift) continue;
    if (by_id) {
      cut.y = begin;
      return cut;
    }
    cut.x = best_key - begin;
    // How many of the equal ones stay.
    ulong stay = min((ulong)equal, (ulong)((uint)k - count));
    if (weighs && each) stay = min(stay, (limit - weight) / each + 1);
    if (stay >= equal) return cut;
    by_id = 1;
    k = (int)stay;
    limit = (ulong)-1;
    count = 0;
    weight = 0;
    begin = 0;
    end = (uint)size - 1;
  }
}

FN float logprob(__global const RowState* s, float l) { return (l - s->best) / s->temperature - s->log_total; }

// The n tokens before the cut, put in order by counting.
FN void top_logprobs(__local CutMemory* m, __global const float* l, int size, __global const RowState* s, Cut cut, int n, __global int* ids, __global float* values) {
  const int lid = (int)get_local_id(0);
  if (lid == 0) m->listed = 0;
  wg_barrier();
  for (int i = lid; i < size; i += CUT_WG) {
    const uint key = order_key(l[i]);
    if (key < cut.x || (key == cut.x && i > (int)cut.y)) continue;
    const int at = atomic_inc(&m->listed);
    if (at < TOP) m->list_key[at] = key, m->list_id[at] = i;
  }
  wg_barrier();
  const int listed = min(m->listed, n);
  if (lid < listed) {
    const uint key = m->list_key[lid];
    const int id = m->list_id[lid];
    int rank = 0;
    for (int i = 0; i < listed; ++i) rank += m->list_key[i] > key || (m->list_key[i] == key && m->list_id[i] < id);
    ids[rank] = id;
    values[rank] = logprob(s, l[id]);
  }
}

__attribute__((reqd_work_group_size(CUT_WG, 1, 1))) __kernel
void sample_cut(__global const float* logits, long stride, int size, int chunks, __global const SampleRow* rows, __global const ulong* chunk_best,
                __global const float* chunk_weight, __global const int* chosen_ids, __global RowState* states, __global int* tokens, __global float* logprobs,
                __global int* top_ids, __global float* top_values, __global float* chosen_logprobs) {
  __local CutMemory m;
  __local float part_weight[PART(CUT_WG)];
  const int row = (int)get_group_id(0), lid = (int)get_local_id(0);
  __global const SampleRow* p = rows + row;
  __global RowState* s = states + row;
  const __global float* l = logits + (long)row * stride;
  chunk_best += (long)row * chunks;
  chunk_weight += (long)row * chunks;
  top_ids += row * TOP;
  top_values += row * TOP;

  ulong top = 0;
  for (int c = lid; c < chunks; c += CUT_WG) top = max(top, chunk_best[c]);
  top = reduce_max(m.part, top, CUT_WG);
  const uint best_key = (uint)(top >> 32);
  const float best = key_value(best_key), t = row_temperature(p);
  const int valid = isfinite(best), draws = valid && row_draws(p);  // the key of NaN is the largest
  float others = 0.0f;  // weight of all but the best, whose own is 1: where it is certain, the logarithm is small and must be right
  if (valid)
    for (int c = lid; c < chunks; c += CUT_WG)
      others += ((chunk_best[c] != top) + chunk_weight[c]) * exp((key_value((uint)(chunk_best[c] >> 32)) - best) / t);
  others = reduce_sum(part_weight, others, CUT_WG);

  for (int i = lid; i < TOP; i += CUT_WG) {
    top_ids[i] = -1;
    top_values[i] = 0.0f;
  }
  // First the tokens that one is drawn from, then those whose log-probabilities are wanted: one search in the program's text.
  const int listed = valid ? min(min(p->top_logprobs, TOP), size) : 0;
  Cut cut;
  for (int list = 0; list < 2; ++list) {
    const int k = list ? listed : p->top_k > 0 ? min(p->top_k, size) : size, weighs = !list && p->top_p < 1.0f;
    cut = (Cut)(0, (uint)size - 1);
    if ((list ? listed > 0 : draws) && (k < size || weighs))
      cut = find_cut(&m, l, size, best_key, best, t, k, weighs ? (ulong)(fmax(p->top_p, 0.0f) * (1.0f + others) * 0x1p44f) : (ulong)-1, weighs, 4.0f);
    if (!list && lid == 0) {
      const int token = !valid ? -1 : p->target >= 0 ? p->target : draws ? -1 : (int)~(uint)top;
      const RowState state = {best, t, log1p(others), token, draws, valid, cut.x, (int)cut.y};
      *s = state;
      tokens[row] = -1;
      logprobs[row] = 0.0f;
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
  for (int i = p->chosen_begin + lid; i < p->chosen_end; i += CUT_WG) chosen_logprobs[i] = valid ? logprob(s, l[clamp(chosen_ids[i], 0, size - 1)]) : 0.0f;
  if (listed > 0) top_logprobs(&m, l, size, s, cut, listed, top_ids, top_values);
}

// ---------------------------------------------------------------- draw
__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void sample_weigh(__global const float* logits, long stride, int size, int chunks, __global const SampleRow* rows, __global const RowState* states,
                  __global ulong* chunk_stay) {
  __local ulong part[PART(WG)];
  const int row = (int)get_group_id(0) / chunks, from = (int)get_group_id(0) % chunks * CHUNK, n = min(CHUNK, size - from), lid = (int)get_local_id(0);
  __global const SampleRow* p = rows + row;
  __global const RowState* s = states + row;
  __global const float* l = logits + (long)row * stride + from;
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
    if (lid == 0) chunk_stay[get_group_id(0)] = all;
  }
}

// floor(sample_uniform(...) * stay): a sum of weights exceeds the product when it exceeds this.
FN ulong drawn_point(__global const SampleRow* p, ulong stay) {
  ulong z = ((ulong)p->seed_hi << 32 | p->seed_lo) + 0x9e3779b97f4a7c15UL * ((ulong)(uint)p->position + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
  z ^= z >> 31;
  return mul_hi(z & ~(ulong)0x7ff, stay);
}

__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void sample_pick(__global const float* logits, long stride, int size, int chunks, __global const SampleRow* rows, __global const RowState* states,
                 __global const ulong* chunk_stay, __global int* pool, long pool_stride, __global int* tokens, __global float* logprobs) {
  __local ulong part[PART(WG)], before;
  __local int chunk, picked;
  const int row = (int)get_group_id(0), lid = (int)get_local_id(0);
  __global const SampleRow* p = rows + row;
  __global const RowState* s = states + row;
  __global const float* l = logits + (long)row * stride;
  chunk_stay += (long)row * chunks;
  if (lid == 0) {
    chunk = -1;
    picked = s->token;
  }
  if (s->draws) {
    // Each work-item has a run of chunks, then a run of the tokens of one chunk.
    const int run = (chunks + WG - 1) / WG;
    ulong sum = 0, all;
    for (int c = lid * run; c < min((lid + 1) * run, chunks); ++c) sum += chunk_stay[c];
    ulong at = scan_sum(part, sum, WG, &all) - sum;
    const ulong point = drawn_point(p, all);
    for (int c = lid * run; c < min((lid + 1) * run, chunks) && at <= point; ++c) {
      const ulong past = at + chunk_stay[c];
      if (past > point) {
        chunk = c;
        before = at;
      }
      at = past;
    }
    wg_barrier();
    const int from = max(chunk, 0) * CHUNK + lid * (CHUNK / WG), end = chunk < 0 ? 0 : min(from + CHUNK / WG, size);
    sum = 0;
    for (int i = from; i < end; ++i)
      if (row_keeps(p, s, l[i], i)) sum += fixed_weight(l[i], s->best, s->temperature);
    at = (chunk < 0 ? 0 : before) + scan_sum(part, sum, WG, &all) - sum;
    for (int i = from; i < end && at <= point; ++i) {
      if (!row_keeps(p, s, l[i], i)) continue;
      at += fixed_weight(l[i], s->best, s->temperature);
      if (at > point) picked = i;
    }
  }
  wg_barrier();
  if (lid == 0 && s->valid) {
    tokens[row] = picked;
    if (p->want_logprob && picked >= 0) logprobs[row] = (l[min(picked, size - 1)] - s->best) / s->temperature - s->log_total;
    if (p->target < 0) pool[(long)p->slot * pool_stride + p->position] = picked;
  }
}

// ---------------------------------------------------------------- TakeTokens
__attribute__((reqd_work_group_size(WG, 1, 1))) __kernel
void take_tokens(__global const int* pool, long pool_stride, __global const int* slots, __global const int* positions, __global int* tokens, int count) {
  const int t = (int)get_global_id(0);
  if (t < count) tokens[t] = slots[t] < 0 ? 0 : pool[(long)slots[t] * pool_stride + positions[t]];
}
