// Attention (attention.h) by float32 products: caches of float32, and of bf16 where there are no matrix instructions.
// A work-group takes ROWS rows (queries x heads of one kv head) and some rounds of TILE keys. Scores: a work-item has a key and a
// slice of the dimensions; values: a dimension and a slice of the keys. Both read lines of 16 words, and every word once.
//   F32   the cache holds float32, else bf16
//   ROWS  1, 2, 4 or 8
//   DIMS  the padded dimension, rounded up to 64, 128, 256, 512 or 1024
#define WG 256
#if F32
#define PAIR 1
#define TILE (DIMS <= 64 ? 64 : DIMS <= 128 ? 32 : 16)
#else
#define PAIR 2
#define TILE (DIMS <= 128 ? 64 : DIMS <= 256 ? 32 : 16)
#endif
#include "attention.clh"

#define K_SLICES (WG / TILE)
#define K_WORDS (DIMS / PAIR / K_SLICES)
#define V_PANELS (DIMS > 256 ? DIMS / 256 : 1)  // that a work-item has a dimension of
#define V_SLICES (DIMS < 256 ? 256 / DIMS : 1)
#define V_LINES (16 / PAIR)                     // words of a dimension and 16 keys
#define V_GROUPS (TILE / 16 / V_SLICES)         // of 16 keys, of a slice
#define LANES (WG / ROWS)                       // work-items that share the softmax of a row
#define PITCH (TILE + 4)                        // of scores: rows in different banks
#if X_HW == 1 && (F32 || DIMS <= 64)
#define FEW _Pragma("nounroll")  // there more spills registers, and elsewhere less
#else
#define FEW
#endif

// One float for each row.
#if ROWS == 1
typedef float rows_t;
#define TO_ARRAY(v, a) ((a)[0] = (v))
#define FROM_ARRAY(a) ((a)[0])
#elif ROWS == 2
typedef float2 rows_t;
#define TO_ARRAY(v, a) vstore2(v, 0, a)
#define FROM_ARRAY(a) vload2(0, a)
#elif ROWS == 4
typedef float4 rows_t;
#define TO_ARRAY(v, a) vstore4(v, 0, a)
#define FROM_ARRAY(a) vload4(0, a)
#else
typedef float8 rows_t;
#define TO_ARRAY(v, a) vstore8(v, 0, a)
#define FROM_ARRAY(a) vload8(0, a)
#endif

// acc + a word of the cache times what belongs to it: ab[0], and for pairs ab[1].
FN rows_t word_fma(uint w, const __local rows_t* ab, rows_t acc) {
#if F32
  return fma((rows_t)(as_float(w)), ab[0], acc);
#else
  return fma((rows_t)(bf_hi(w)), ab[1], fma((rows_t)(bf_lo(w)), ab[0], acc));
#endif
}

typedef struct {
  ulong q; int4 qs; ulong pool; long offset_words, block_words, head_words; int block_tokens; ulong table; long table_stride; ulong cu_q, kv_len, sinks; int has_sinks;
  ulong y, part_o, part_ml; int batch, at_once, heads, group, heads_at_once, dim, padded; float scale; int window, max_parts, min_rounds, head_groups; ulong limits;
} attention_args;

// In local memory: queries [dimension][row]; part [slice of the dimensions][key][row], at the end values of the slices of keys;
// scores [row][key]; probabilities [key][row]; the factor of what was summed up before this round; what each row sees; sums.
#define LOCALS (ROWS * (DIMS + WG + PITCH + TILE + 1 + 2) + WG)

FN void attention_body(PHASE_ARGS attention_args* a, int3 at, __local float* mem) {
  __local rows_t* query = (__local rows_t*)mem;
  __local rows_t* part = query + DIMS;
  __local rows_t* prob = part + WG;
  __local float* score = (__local float*)(prob + TILE);
  __local float* total = score + ROWS * PITCH;
  __local int2* sees = (__local int2*)(total + WG);
  __local rows_t* factor = (__local rows_t*)(sees + ROWS);
  const __global float* q = (const __global float*)a->q;
  const __global float* sinks = (const __global float*)a->sinks;
  const __global int* cu_q = (const __global int*)a->cu_q;
  const __global int* kv_len = (const __global int*)a->kv_len;
  const __global int* limits = (const __global int*)a->limits;
  __global float* y = (__global float*)a->y;
  __global float* part_o = (__global float*)a->part_o;
  __global float* part_ml = (__global float*)a->part_ml;
  const int4 qs = a->qs;
  const int group = a->group, heads_at_once = a->heads_at_once, dim = a->dim, padded = a->padded, window = a->window, heads = a->heads;
  const int lid = (int)get_local_id(0), lane = lid % 16;
  const int chunks = (group + heads_at_once - 1) / heads_at_once, chunk = at.y % chunks, kv = at.y / chunks;
  Unit u;
  Part p;
  find_unit(cu_q, kv_len, limits, a->batch, at.x, a->at_once, window, &u);
  find_part(u, at.z, a->max_parts, a->min_rounds, &p);
  const int words = padded / PAIR, panels = padded / 16, panel_words = 16 / PAIR * a->block_tokens;
  Pages pages;
  pages.pool = (const __global uint*)a->pool + a->offset_words + kv * a->head_words;
  pages.table = (const __global int*)a->table + u.row * a->table_stride;
  pages.block_words = a->block_words;
  pages.block_tokens = a->block_tokens;

  const int live = p.begin < p.end;  // else nothing is read but the row's place
  for (int d = lid; live && d < DIMS; d += WG) {
    float x[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) {
      const int token = r / heads_at_once, in_group = chunk * heads_at_once + r % heads_at_once;
      x[r] = d < dim && token < u.tokens && in_group < group ? q[(long)(u.token + token) * qs.x + (long)(kv * group + in_group) * qs.y + d] : 0.0f;
    }
    query[d] = FROM_ARRAY(x);
  }
  if (lid < ROWS) {
    const int real = lid / heads_at_once < u.tokens && chunk * heads_at_once + lid % heads_at_once < group;
    sees[lid] = real ? visible(u, lid / heads_at_once, window, limits) : (int2)(0, 0);
  }
  // This work-item's key and slice of the dimensions; its dimension and slice of the keys; its row of the softmax.
  const int key = lid % TILE, k_slice = lid / TILE;
  const int v_group = lid / 16, v_panel = v_group % (DIMS / 16), v_slice = DIMS < 256 ? v_group / (DIMS / 16) : 0;
  const int my_row = lid / LANES, my_lane = lid % LANES;
  const int first_group = u.first / 16 * 16, last_group = max(0, (u.end - 1) / 16 * 16);
  rows_t acc[V_PANELS];
  UNROLL for (int i = 0; i < V_PANELS; i++) acc[i] = (rows_t)(0.0f);
  float m = -INFINITY, sum = 0.0f;  // of my_row; the sum over this work-item's keys alone
  wg_barrier();

  for (int r = p.begin; r < p.end; r++) {
    // V is asked for before the scores are there. Groups of 16 keys that nobody sees are replaced by one that somebody does.
    uint v[V_PANELS * V_GROUPS * V_LINES];
    UNROLL for (int g = 0; g < V_GROUPS; g++) {
      const int token = r * TILE + (v_slice * V_GROUPS + g) * 16;
      __global const uint* from = v_words(pages, clamp(token, first_group, last_group), words, PAIR) + lane;
      UNROLL for (int i = 0; i < V_PANELS; i++) {
        __global const uint* line = from + (long)min(v_panel + i * 16, panels - 1) * panel_words;
        UNROLL for (int j = 0; j < V_LINES; j++) v[(g * V_PANELS + i) * V_LINES + j] = line[j * 16];
      }
    }
    {
      const int token = r * TILE + key / 16 * 16;
      __global const uint* from = k_words(pages, clamp(token, first_group, last_group), words) + lane;
      rows_t s = (rows_t)(0.0f);
      FEW for (int i = 0; i < K_WORDS; i += 8) {
        uint k[8];
        UNROLL for (int j = 0; j < 8; j++) k[j] = from[(long)min(k_slice * K_WORDS + i + j, words - 1) * 16];
        UNROLL for (int j = 0; j < 8; j++) s = word_fma(k[j], query + (k_slice * K_WORDS + i + j) * PAIR, s);
      }
      part[lid] = s;
    }
    wg_barrier();
    for (int i = lid; i < ROWS * TILE; i += WG) {
      const int row = i % ROWS, n = i / ROWS, token = r * TILE + n;
      float s = 0.0f;
      UNROLL for (int j = 0; j < K_SLICES; j++) s += ((const __local float*)part)[(j * TILE + n) * ROWS + row];
      score[row * PITCH + n] = token >= sees[row].x && token < sees[row].y ? s * a->scale : -INFINITY;
    }
    wg_barrier();
    {
      const __local float4* all = (const __local float4*)(score + my_row * PITCH);
      float4 four = all[0];
      UNROLL for (int i = 1; i < TILE / 4; i++) four = fmax(four, all[i]);
      const float largest = fmax(m, fmax(fmax(four.x, four.y), fmax(four.z, four.w)));
      const float base = largest == -INFINITY ? 0.0f : largest, f = exp(m - base);
      sum *= f;
      for (int i = my_lane; i < TILE; i += LANES) {
        const float e = exp(score[my_row * PITCH + i] - base);
        sum += e;
        ((__local float*)prob)[i * ROWS + my_row] = e;
      }
      if (my_lane == 0) ((__local float*)factor)[my_row] = f;
      m = largest;
    }
    wg_barrier();
    const rows_t f = factor[0];
    UNROLL for (int i = 0; i < V_PANELS; i++) acc[i] *= f;
    UNROLL for (int g = 0; g < V_GROUPS; g++) {
      const int n = (v_slice * V_GROUPS + g) * 16;
      UNROLL for (int j = 0; j < V_LINES; j++) {
        const int token = r * TILE + n + j * PAIR;
        const int seen = token >= first_group && token < u.end;  // beyond the last key lies anything, even NaN
        UNROLL for (int i = 0; i < V_PANELS; i++)
          acc[i] = word_fma(seen ? v[(g * V_PANELS + i) * V_LINES + j] : 0u, prob + n + j * PAIR, acc[i]);
      }
    }
  }

  // The slices of keys, of values and of the sums.
  wg_barrier();
  total[lid] = sum;
  if (V_SLICES > 1) part[lid] = acc[0];
  if (my_lane == 0) score[my_row] = m;
  wg_barrier();
  float l[ROWS], max_[ROWS];
  UNROLL for (int i = 0; i < ROWS; i++) max_[i] = score[i], l[i] = 0.0f;
  for (int j = 0; j < LANES; j++) {
    UNROLL for (int i = 0; i < ROWS; i++) l[i] += total[i * LANES + j];
  }
  if (V_SLICES > 1) {
    UNROLL for (int j = 1; j < V_SLICES; j++) acc[0] += part[(lid + j * DIMS) % WG];
  }
  const long unit = (((long)at.x * a->head_groups + at.y) * a->max_parts + at.z) * ROWS;
  UNROLL for (int n = 0; n < V_PANELS; n++) {
    const int d = (v_panel + n * 16) * 16 + lane;
    float o[ROWS];
    TO_ARRAY(acc[n], o);
    UNROLL for (int i = 0; i < ROWS; i++) {
      const int in_group = chunk * heads_at_once + i % heads_at_once, head = kv * group + in_group, token = i / heads_at_once;
      const int real = v_slice == 0 && d < dim && token < u.tokens && in_group < group && live;
      if (real && p.parts > 1) {
        part_o[(unit + i) * padded + d] = o[i];
        if (d == 0) part_ml[(unit + i) * 2] = max_[i], part_ml[(unit + i) * 2 + 1] = l[i];
      } else if (real) {
        float scaled = 1.0f, all = l[i];
        if (a->has_sinks) {
          const float both = fmax(max_[i], sinks[head]);
          scaled = exp(max_[i] - both);
          all = all * scaled + exp(sinks[head] - both);
        }
        y[((long)(u.token + token) * heads + head) * dim + d] = o[i] * scaled / all;
      }
    }
  }
}
PHASE_KERNEL(attention, LOCALS)
