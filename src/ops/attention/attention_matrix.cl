// Attention (attention.h) of a bf16 cache by matrix instructions. A work-group takes ROWS rows (queries x heads of one kv head) and
// some rounds of TILE keys. The cache lies as fragments do: 16 keys of a K panel by 16 dimensions, and 16 dimensions of a V panel
// by 16 keys, are 512 bytes one after the other, and a sub-group reads them as a block.
//   ROWS  a multiple of 8
//   DIMS  the padded dimension, rounded up to 64, 128, 256, 512 or 1024
#define NSG 8              // sub-groups; of 16 keys each when scores are computed
#define TILE (NSG * 16)
#include "attention.clh"

#if X_HW == 1  // registers need constant indices
#define EACH _Pragma("unroll")
#define SOME _Pragma("unroll 4")
#else  // with the barriers of emulation, unrolled loops take a minute to compile
#define EACH _Pragma("nounroll")
#define SOME
#endif
#define WG (NSG * SG)
#define TILES (ROWS / 8)   // fragments of 8 rows
#define HALVES (16 / SG)   // fragments of a panel's 16 columns
#define V_PANELS (DIMS > NSG * 16 ? DIMS / (NSG * 16) : 1)  // of a sub-group
#define V_SLICES (DIMS < NSG * 16 ? NSG * 16 / DIMS : 1)    // of a round's keys
#define V_WIDTH (TILE / V_SLICES)                           // dimensions that the sub-groups have at a time
#define V_GROUPS (NSG / V_SLICES)                           // of 16 keys, of a slice

// 16 columns by 16 of a panel as B fragments.
FN void load_b(__global const uint* at, int8* b) {
#if X_HW == 1 && SG == 16
  b[0] = as_int8(intel_sub_group_block_read8(at));
#elif X_HW == 1
  const uint8 x = intel_sub_group_block_read8(at), y = intel_sub_group_block_read8(at + 64);
  b[0] = as_int8((uint8)(x.even, y.even));
  b[1] = as_int8((uint8)(x.odd, y.odd));
#else
  EACH for (int h = 0; h < HALVES; h++) {
    const __global uint* p = at + h * SG + get_sub_group_local_id();
    b[h] = as_int8((uint8)(p[0], p[16], p[32], p[48], p[64], p[80], p[96], p[112]));
  }
#endif
}

KERNEL(WG)
void attention(__global const float* q, int4 qs, __global const uint* pool, long offset_words, long block_words, long head_words, int block_tokens,
               __global const int* table, long table_stride, __global const int* cu_q, __global const int* kv_len, __global const float* sinks, int has_sinks,
               __global float* y, __global float* part_o, __global float* part_ml, int batch, int at_once, int heads, int group, int heads_at_once, int dim,
               int padded, float scale, int window, int max_parts, int min_rounds, int head_groups, __global const int* limits) {
  SG_DECL(WG);
  __local ushort query[ROWS * DIMS];   // fragments [8 rows][16 dimensions]
  __local ushort prob[ROWS * TILE];    // fragments [8 rows][16 keys]
  __local float score[ROWS * TILE];    // [row][key]; at the end values of the slices of keys
  __local float factor[ROWS], total[ROWS];
  __local int2 sees[ROWS];
  const int lid = (int)get_local_id(0), s = (int)get_sub_group_id(), lane = (int)get_sub_group_local_id();
  const int chunks = (group + heads_at_once - 1) / heads_at_once, chunk = (int)get_group_id(1) % chunks, kv = (int)get_group_id(1) / chunks;
  Unit u;
  Part p;
  find_unit(cu_q, kv_len, limits, batch, (int)get_group_id(0), at_once, window, &u);
  find_part(u, (int)get_group_id(2), max_parts, min_rounds, &p);
  const int words = padded / 2, panels = padded / 16, panel_words = 8 * block_tokens;
  Pages pages;
  pages.pool = pool + offset_words + kv * head_words;
  pages.table = table + u.row * table_stride;
  pages.block_words = block_words;
  pages.block_tokens = block_tokens;

  const int live = p.begin < p.end;  // else nothing is read but the row's place
  for (int i = lid; live && i < ROWS * padded; i += WG) {
    const int r = i / padded, d = i % padded, in_group = chunk * heads_at_once + r % heads_at_once;
    const int real = d < dim && r / heads_at_once < u.tokens && in_group < group;
    const float x = real ? q[(long)(u.token + r / heads_at_once) * qs.x + (long)(kv * group + in_group) * qs.y + d] : 0.0f;
    query[(r / 8 * panels + d / 16) * 128 + AF_IDX(r % 8, d % 16)] = f2bf(x);
  }
  for (int i = lid; i < ROWS; i += WG) {
    const int real = i / heads_at_once < u.tokens && chunk * heads_at_once + i % heads_at_once < group;
    sees[i] = real ? visible(u, i / heads_at_once, window, limits) : (int2)(0, 0);
  }
  const int first_group = u.first / 16 * 16, last_group = max(0, (u.end - 1) / 16 * 16);
  const int v_panel = s % (DIMS / 16), v_slice = s / (DIMS / 16);
  float8 o[V_PANELS * TILES * HALVES];
  EACH for (int i = 0; i < V_PANELS * TILES * HALVES; i++) o[i] = (float8)(0.0f);
  float m[TILES], l[TILES];  // of the rows s, s + NSG ...
  EACH for (int i = 0; i < TILES; i++) m[i] = -INFINITY, l[i] = 0.0f;
  wg_barrier();

  for (int r = p.begin; r < p.end; r++) {
    {  // scores of this sub-group's 16 keys; where nobody sees any, of others in their place
      __global const uint* from = k_words(pages, clamp(r * TILE + s * 16, first_group, last_group), words);
      float8 acc[TILES * HALVES];
      EACH for (int i = 0; i < TILES * HALVES; i++) acc[i] = (float8)(0.0f);
SOME for (int f = 0; f < panels; f++) {
        int8 b[HALVES];
        load_b(from + f * 128, b);
        EACH for (int t = 0; t < TILES; t++) {
          const afrag a = af_get(query + (t * panels + f) * 128);
          EACH for (int h = 0; h < HALVES; h++) acc[t * HALVES + h] = mad8(a, b[h], acc[t * HALVES + h]);
        }
      }
      EACH for (int t = 0; t < TILES; t++)
        EACH for (int h = 0; h < HALVES; h++) {
          float a[8];
          vstore8(acc[t * HALVES + h], 0, a);
          const int at = s * 16 + h * SG + lane, token = r * TILE + at;
          EACH for (int i = 0; i < 8; i++) {
            const int2 range = sees[t * 8 + i];
            score[(t * 8 + i) * TILE + at] = token >= range.x && token < range.y ? a[i] * scale : -INFINITY;
          }
        }
    }
    wg_barrier();
    EACH for (int t = 0; t < TILES; t++) {
      const int row = t * NSG + s;
      float x[TILE / SG], largest = m[t];
      EACH for (int i = 0; i < TILE / SG; i++) {
        x[i] = score[row * TILE + i * SG + lane];
        largest = fmax(largest, x[i]);
      }
      largest = sub_group_reduce_max(largest);
      const float base = largest == -INFINITY ? 0.0f : largest, f = native_exp(m[t] - base);
      float sum = 0.0f;
      EACH for (int i = 0; i < TILE / SG; i++) {
        const ushort e = f2bf(native_exp(x[i] - base));
        const int at = i * SG + lane;
        sum += bf2f(e);
        prob[(t * NSG + at / 16) * 128 + AF_IDX(s, at % 16)] = e;
      }
      l[t] = l[t] * f + sub_group_reduce_add(sum);
      m[t] = largest;
      if (lane == 0) factor[row] = f;
    }
    wg_barrier();
    EACH for (int t = 0; t < TILES; t++) {
      const float8 f = vload8(t, factor);
      EACH for (int n = 0; n < V_PANELS; n++)
        EACH for (int h = 0; h < HALVES; h++) o[(n * TILES + t) * HALVES + h] *= f;
    }
    const int g_begin = V_SLICES > 1 ? 0 : clamp((first_group - r * TILE) / 16, 0, V_GROUPS), g_end = V_SLICES > 1 ? V_GROUPS : min(V_GROUPS, (u.end - r * TILE + 15) / 16);
    for (int g = g_begin; g < g_end; g++) {
      const int at = v_slice * V_GROUPS + g, token = r * TILE + at * 16;
      const int seen = token >= first_group ? u.end - token : 0;  // keys; beyond lies anything, even NaN
      __global const uint* from = v_words(pages, clamp(token, first_group, last_group), words, 2);
      EACH for (int n = 0; n < V_PANELS; n++) {
        int8 b[HALVES];
        load_b(from + (long)min(v_panel + n * NSG, panels - 1) * panel_words, b);
        EACH for (int h = 0; h < HALVES; h++) b[h] = (int8)(0, 2, 4, 6, 8, 10, 12, 14) < (int8)(seen) ? b[h] : (int8)(0);
        EACH for (int t = 0; t < TILES; t++) {
          const afrag a = af_get(prob + (t * NSG + at) * 128);
          EACH for (int h = 0; h < HALVES; h++) o[(n * TILES + t) * HALVES + h] = mad8(a, b[h], o[(n * TILES + t) * HALVES + h]);
        }
      }
    }
    wg_barrier();
  }

  EACH for (int t = 0; t < TILES; t++)
    if (lane == 0) factor[t * NSG + s] = m[t], total[t * NSG + s] = l[t];
  const long unit = (((long)get_group_id(0) * get_num_groups(1) + get_group_id(1)) * max_parts + get_group_id(2)) * ROWS;
  EACH for (int n = 0; n < V_PANELS; n++) {  // through local memory, [row][slice][dimension]: addresses of so many rows take registers
    EACH for (int t = 0; t < TILES; t++)
      EACH for (int h = 0; h < HALVES; h++) {
        float a[8];
        vstore8(o[(n * TILES + t) * HALVES + h], 0, a);
        EACH for (int i = 0; i < 8; i++) score[(t * 8 + i) * TILE + s * 16 + h * SG + lane] = a[i];
      }
    wg_barrier();
    for (int i = lid; live && i < ROWS * V_WIDTH; i += WG) {
      const int row = i / V_WIDTH, d = n * TILE + i % V_WIDTH, token = row / heads_at_once, in_group = chunk * heads_at_once + row % heads_at_once;
      float v = 0.0f;
      for (int j = 0; j < V_SLICES; j++) v += score[row * TILE + j * V_WIDTH + i % V_WIDTH];
      const int head = kv * group + in_group, real = d < dim && token < u.tokens && in_group < group;
      if (real && p.parts > 1) {
        part_o[(unit + row) * padded + d] = v;
        if (d == 0) part_ml[(unit + row) * 2] = factor[row], part_ml[(unit + row) * 2 + 1] = total[row];
      } else if (real) {
        float scaled = 1.0f, all = total[row];
        if (has_sinks) {
          const float both = fmax(factor[row], sinks[head]);
          scaled = native_exp(factor[row] - both);
          all = all * scaled + native_exp(sinks[head] - both);
        }
        y[((long)(u.token + token) * heads + head) * dim + d] = v * scaled / all;
      }
    }
    wg_barrier();
  }
}
