// sample_cut (sample.cl): of each row, which tokens stay, the log-probabilities, and the token where none is drawn.
#define ITEM wide_item()
#define ITEM_BARRIER wide_barrier()
#include "sample.clh"
#define BUCKETS 2048
#define TOP 20  // kMaxTopLogprobs

typedef uint2 Cut;  // order_key and id of the last token that stays

typedef struct {
  ulong part[PART(WIDE_WG)], found_weight;
  uint count[BUCKETS], low[BUCKETS], high[BUCKETS];  // weights in two words: local atomics have 32 bits
  uint found_count, list_key[TOP];
  int found, list_id[TOP], listed, near[MAX_CHUNKS], near_count;
  float part_weight[PART(WIDE_WG)];
} CutMemory;

// Lists the chunks that have a token of at least this key; the others' logits need not be read.
FN int list_near(__local CutMemory* m, const __global ulong* chunk_best, int chunks, uint key) {
  if (ITEM == 0) m->near_count = 0;
  ITEM_BARRIER;
  for (int c = ITEM; c < chunks; c += WIDE_WG)
    if ((uint)(chunk_best[c] >> 32) >= key) m->near[atomic_inc(&m->near_count)] = c;
  ITEM_BARRIER;
  return m->near_count;
}
// Token i of those in listed chunks; of the last chunk, some are past the end.
FN int near_token(__local CutMemory* m, int i) { return m->near[i / CHUNK] * CHUNK + i % CHUNK; }

// limit / each, at most 2^20 - 1, without a division of 64 bits, which is a call for which registers are saved.
FN uint weights_within(ulong limit, ulong each) {
  uint n = 0;
  for (uint bit = 1u << 19; bit; bit >>= 1)
    if ((n + bit) * each <= limit) n += bit;
  return n;
}

// In descending order (ties to the lower id) a token stays when fewer than k stand before it and those before it weigh at most
// `limit`: a prefix of that order, named by its last token. It is found by counting, without sorting: distances from the best
// are divided into buckets; the first bucket after which one of the conditions fails holds the cut and is divided again. The
// equal tokens of the last bucket are walked the same way by their ids. The first buckets span a window near the best only,
// which most tokens, and most chunks, are outside of.
FN Cut find_cut(__local CutMemory* m, const __global float* l, int size, const __global ulong* chunk_best, int chunks, uint best_key, float best, float temperature, int k, ulong limit, int weighs, float window) {
  const int lid = ITEM;
  Cut cut = (Cut)(0, (uint)size - 1);
  int by_id = 0;                      // dividing ids of tokens whose key is cut.x, else distances
  uint begin = 0, end = best_key - order_key(best - window);  // the last
  uint count = 0;                     // of the tokens before `begin`, all of which stay
  ulong weight = 0;
  for (;;) {
    const int shift = max(0, 32 - (int)clz(end - begin) - 11);
    for (int b = lid; b < BUCKETS; b += WIDE_WG) m->count[b] = m->low[b] = m->high[b] = 0;
    const int near = list_near(m, chunk_best, chunks, by_id ? cut.x : best_key - end) * CHUNK;
    for (int i = lid; i < near; i += WIDE_WG * 8) {
      int id[8];
      float v[8];
      UNROLL for (int u = 0; u < 8; ++u) {
        id[u] = i + u * WIDE_WG < near ? near_token(m, i + u * WIDE_WG) : size;
        v[u] = l[min(id[u], size - 1)];
      }
      UNROLL for (int u = 0; u < 8; ++u) {
        const uint key = order_key(v[u]), at = by_id ? (uint)id[u] : best_key - key;
        if (id[u] >= size || at < begin || at > end || (by_id && key != cut.x)) continue;
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
    ITEM_BARRIER;
    // Each work-item walks a run of buckets, from the sums of those before it.
    const int run = BUCKETS / WIDE_WG;
    uint n = 0;
    ulong w = 0;
    for (int b = lid * run; b < (lid + 1) * run; ++b) n += m->count[b], w += (ulong)m->high[b] << 32 | m->low[b];
    ulong n_all, w_all;
    uint n_before = count + (uint)scan_sum(m->part, n, WIDE_WG, &n_all) - n;
    ulong w_before = weight + scan_sum(m->part, w, WIDE_WG, &w_all) - w;
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
    ITEM_BARRIER;
    const int found = m->found;
    if (found < 0) {
      ITEM_BARRIER;
      if (by_id || end == best_key) return cut;  // all stay
      count += (uint)n_all;
      weight += w_all;
      begin = end + 1;
      end = best_key;
      continue;
    }
    const uint equal = m->count[found];
    count = m->found_count;
    weight = m->found_weight;
    ITEM_BARRIER;
    begin += (uint)found << shift;
    end = min(end, begin + ((1u << shift) - 1u));
    if (shift) continue;
    if (by_id) {
      cut.y = begin;
      return cut;
    }
    cut.x = best_key - begin;
    // How many of the equal ones stay.
    uint stay = (uint)k - count;
    if (weighs) stay = min(stay, weights_within(limit - weight, fixed_weight(key_value(cut.x), best, temperature)) + 1);
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

typedef struct {
  float best, temperature, log_total;
} Weights;
FN float logprob(const Weights* w, float l) { return (l - w->best) / w->temperature - w->log_total; }

// The n tokens before the cut, put in order by counting.
FN void top_logprobs(__local CutMemory* m, const __global float* l, int size, const __global ulong* chunk_best, int chunks, const Weights* w, Cut cut, int n, __global int* ids,
                     __global float* values) {
  const int lid = ITEM;
  if (lid == 0) m->listed = 0;
  const int near = list_near(m, chunk_best, chunks, cut.x) * CHUNK;
  for (int i = lid; i < near; i += WIDE_WG) {
    const int id = near_token(m, i);
    const uint key = order_key(l[min(id, size - 1)]);
    if (id >= size || key < cut.x || (key == cut.x && id > (int)cut.y)) continue;
    const int at = atomic_inc(&m->listed);
    if (at < TOP) m->list_key[at] = key, m->list_id[at] = id;
  }
  ITEM_BARRIER;
  const int listed = min(m->listed, n);
  if (lid < listed) {
    const uint key = m->list_key[lid];
    const int id = m->list_id[lid];
    int rank = 0;
    for (int i = 0; i < listed; ++i) rank += m->list_key[i] > key || (m->list_key[i] == key && m->list_id[i] < id);
    ids[rank] = id;
    values[rank] = logprob(w, l[id]);
  }
}

typedef struct {
  ulong logits; long stride; int size, chunks; ulong rows, chunk_best, chunk_weight, chosen_ids, states, tokens, logprobs, top_ids, top_values, chosen_logprobs;
} sample_cut_args;

FN void cut_row(PHASE_ARGS sample_cut_args* a, int row, __local CutMemory* m) {
  const int lid = ITEM, size = a->size, chunks = a->chunks;
  const __global SampleRow* p = (const __global SampleRow*)a->rows + row;
  const __global float* l = (const __global float*)a->logits + (long)row * a->stride;
  const __global ulong* chunk_best = (const __global ulong*)a->chunk_best + (long)row * chunks;
  const __global float* chunk_weight = (const __global float*)a->chunk_weight + (long)row * chunks;
  __global int* top_ids = (__global int*)a->top_ids + row * TOP;
  __global float* top_values = (__global float*)a->top_values + row * TOP;

  ulong top = 0;
  for (int c = lid; c < chunks; c += WIDE_WG) top = max(top, chunk_best[c]);
  top = reduce_max(m->part, top, WIDE_WG);
  const uint best_key = (uint)(top >> 32);
  const float best = key_value(best_key), t = row_temperature(p);
  const int valid = isfinite(best), draws = valid && row_draws(p);  // the key of NaN is the largest
  float others = 0.0f;  // weight of all but the best, whose own is 1: where it is certain, the logarithm is small and must be right
  if (valid)
    for (int c = lid; c < chunks; c += WIDE_WG)
      others += ((chunk_best[c] != top) + chunk_weight[c]) * exp((key_value((uint)(chunk_best[c] >> 32)) - best) / t);
  others = reduce_sum(m->part_weight, others, WIDE_WG);

  for (int i = lid; i < TOP; i += WIDE_WG) {
    top_ids[i] = -1;
    top_values[i] = 0.0f;
  }
  const Weights w = {best, t, log1p(others)};
  // First the tokens that one is drawn from, then those whose log-probabilities are wanted: one search in the program's text.
  const int listed = valid ? min(min(p->top_logprobs, TOP), size) : 0;
  Cut cut;
  for (int list = 0; list < 2; ++list) {
    const int k = list ? listed : p->top_k > 0 ? min(p->top_k, size) : size, weighs = !list && p->top_p < 1.0f;
    cut = (Cut)(0, (uint)size - 1);
    if ((list ? listed > 0 : draws) && (k < size || weighs))
      cut = find_cut(m, l, size, chunk_best, chunks, best_key, best, t, k, weighs ? (ulong)(fmax(p->top_p, 0.0f) * (1.0f + others) * 0x1p44f) : (ulong)-1, weighs, 4.0f);
    if (!list && lid == 0) {
      const int token = !valid ? -1 : p->target >= 0 ? p->target : draws ? -1 : (int)~(uint)top;
      const RowState state = {best, t, w.log_total, token, draws, valid, cut.x, (int)cut.y};
      ((__global RowState*)a->states)[row] = state;
      ((__global int*)a->tokens)[row] = -1;
      ((__global float*)a->logprobs)[row] = 0.0f;
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
  const __global int* chosen_ids = (const __global int*)a->chosen_ids;
  for (int i = p->chosen_begin + lid; i < p->chosen_end; i += WIDE_WG)
    ((__global float*)a->chosen_logprobs)[i] = valid ? logprob(&w, l[clamp(chosen_ids[i], 0, size - 1)]) : 0.0f;
  if (listed > 0) top_logprobs(m, l, size, chunk_best, chunks, &w, cut, listed, top_ids, top_values);
}

FN void sample_cut_body(PHASE_ARGS sample_cut_args* a, Groups g, __local float* mem, Wait w) {
  phase_wait(w);
  for (int row = g.first; row < g.count; row += g.step) {
    cut_row(a, row, (__local CutMemory*)mem);
    ITEM_BARRIER;
  }
}
WIDE_KERNEL(sample_cut, sizeof(CutMemory) / sizeof(float))
