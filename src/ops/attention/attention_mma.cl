// Attention (attention.h) of many queries over a bf16 cache on the matrix instructions of mma.clh. A work-group takes ROWS rows
// (queries x heads of one kv head) and some rounds of TILE keys. Each of its WR x WD warps has 32 rows: of a round, their scores
// of 32 keys; of the values, DIMS / WD dimensions, which its registers hold. K and V lie as packed weights do: lane 4 g + t reads
// four tokens of K, four dimensions of V at a time (matmul_mma.clh), and then scores come out where probabilities go in: it has
// tokens 8 t .. 8 t + 7 of 32, of rows g and g + 8.
//   DIMS  the padded dimension, rounded up to 64, 128, 256 or 512;  WR, WD: ROWS is 32 * WR, DIMS / WD at most 128
#define TILE (32 * WD)
#include "attention.clh"
#include "mma.clh"
#define WG (WARP * WR * WD)
#define GROUPS (DIMS / WD / 32)  // of 32 dimensions
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define ONE _Pragma("unroll 1")  // more spills registers

// 4 lines of 16 words, of which the lane has 4; none after `last`.
FN void load_lines(__global const uint* at, int line, int last, uint* v) {
  EACH for (int i = 0; i < 4; i++) vstore4(*(__global const uint4*)(at + min(line + i, last) * 16), i, v);
}
#define B_OF(v, j, step) ((uint2)((v)[8 * (step) + (j)], (v)[8 * (step) + 4 + (j)]))

KERNEL(WG)
void attention(__global const float* q, int4 qs, __global const uint* pool, long offset_words, long block_words, long head_words, int block_tokens,
               __global const int* table, long table_stride, __global const int* cu_q, __global const int* kv_len, __global const float* sinks, int has_sinks,
               __global float* y, __global float* part_o, __global float* part_ml, int batch, int at_once, int heads, int group, int heads_at_once, int dim,
               int padded, float scale, int window, int max_parts, int min_rounds, int head_groups, __global const int* limits) {
  SG_DECL(WG);
  __local uint4 query[DIMS / 32 * ROWS * 4];  // [32 dimensions][row][4 x 8 of them]
#if WD > 1
  __local uint4 prob[WD * ROWS * 4];          // [32 keys][row][4 x 8 of them]
  __local float shared[WD * ROWS];            // what the warps of the same rows know
#endif
  const int lid = (int)get_local_id(0), lane = lid % WARP, warp = lid / WARP, g = lane / 4, t = lane % 4, wr = warp / WD, wd = warp % WD;
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

  const int live = p.begin < p.end, q_aligned = rows_aligned(q, qs);  // else nothing is read but the row's place
  for (int i = lid; live && i < DIMS / 8 * ROWS; i += WG) {
    const int r = i / 4 % ROWS, d = i / (4 * ROWS) * 32 + i % 4 * 8, in_group = chunk * heads_at_once + r % heads_at_once;
    uint4 v = (uint4)(0u);
    if (d < dim && r / heads_at_once < u.tokens && in_group < group) {
      float x[8];
      load_8(q + (long)(u.token + r / heads_at_once) * qs.x + (long)(kv * group + in_group) * qs.y, d, dim, q_aligned, x);
      v = (uint4)(bf_pair(x[0], x[1]), bf_pair(x[2], x[3]), bf_pair(x[4], x[5]), bf_pair(x[6], x[7]));
    }
    query[i] = v;
  }
  // This lane's rows: of fragment m rows g and g + 8, number 2 m and 2 m + 1.
#define ROW_OF(i) (wr * 32 + (i) / 2 * 16 + (i) % 2 * 8 + g)
  int position[4];  // -1: no query
#if LIMITS
  int end[4];  // of the keys that it sees
#define END(i) end[i]
#else
#define END(i) (position[i] + 1)
#endif
  float most[4], sum[4];  // of this lane's keys
  EACH for (int i = 0; i < 4; i++) {
    const int query_of = ROW_OF(i) / heads_at_once, real = query_of < u.tokens && chunk * heads_at_once + ROW_OF(i) % heads_at_once < group;
    position[i] = real ? u.position + query_of : -1;
#if LIMITS
    end[i] = real ? limits[u.token + query_of] : 0;
#endif
    most[i] = -INFINITY, sum[i] = 0.0f;
  }
  const int seen_from = window > 0 ? max(0, u.position + u.tokens - window) : 0;  // by all queries
  int seen_to = u.position + 1;
#if LIMITS
  for (int i = 0; i < u.tokens; i++) seen_to = min(i > 0 ? seen_to : u.end, limits[u.token + i]);
#endif
  const int first_group = u.first / 16 * 16, last_group = max(0, (u.end - 1) / 16 * 16);
  const float log2_scale = scale * LOG2E;
  float4 o[2][GROUPS * 4];
  EACH for (int m = 0; m < 2; m++)
    EACH for (int i = 0; i < GROUPS * 4; i++) o[m][i] = (float4)(0.0f);
#define K_FROM(r) (k_words(pages, clamp((r) * TILE + wd * 32 + lane / 16 * 16, first_group, last_group), words) + lane / 4 % 4 * 4)
#define V_FROM(token) (v_words(pages, clamp((token) + t / 2 * 16, first_group, last_group), words, 2) + t % 2 * 64 + lane / 4 % 4 * 4)
#define V_PANEL(h) (min(wd * (GROUPS * 2) + (h) * 2 + lane / 16, panels - 1) * panel_words)
  uint ahead[16];  // what is multiplied next
  __global const uint* k_from = pool;
  if (live) {
    k_from = K_FROM(p.begin);
    load_lines(k_from, 4 * t, words - 1, ahead);
  }
  wg_barrier();

  for (int r = p.begin; r < p.end; r++) {
    const int key0 = r * TILE, mine = key0 + wd * 32 + 8 * t;
    float4 s[2][4];
    EACH for (int m = 0; m < 2; m++)
      EACH for (int j = 0; j < 4; j++) s[m][j] = (float4)(0.0f);
    __global const uint* v_from = V_FROM(key0);
    for (int c = 0; c * 32 < padded; c++) {
      uint k[16];
      EACH for (int i = 0; i < 16; i++) k[i] = ahead[i];
      if ((c + 1) * 32 < padded) load_lines(k_from, (c + 1) * 16 + 4 * t, words - 1, ahead);
      else load_lines(v_from + V_PANEL(0), 0, 3, ahead);
      __local const uint4* a = query + (c * ROWS + wr * 32 + g) * 4 + t;
      EACH for (int m = 0; m < 2; m++) {
        const uint4 upper = a[m * 64], lower = a[m * 64 + 32];
        EACH for (int j = 0; j < 4; j++) s[m][j] = mma_16816((uint4)(upper.x, lower.x, upper.y, lower.y), B_OF(k, j, 0), s[m][j]);
        EACH for (int j = 0; j < 4; j++) s[m][j] = mma_16816((uint4)(upper.z, lower.z, upper.w, lower.w), B_OF(k, j, 1), s[m][j]);
      }
    }
    k_from = K_FROM(r + 1);

    float x[4][8], largest[4];
    const int all_seen = key0 >= seen_from && key0 + TILE <= seen_to;
    EACH for (int i = 0; i < 4; i++) {
      EACH for (int j = 0; j < 4; j++) {
        x[i][j] = (i % 2 ? s[i / 2][j].z : s[i / 2][j].x) * log2_scale;
        x[i][4 + j] = (i % 2 ? s[i / 2][j].w : s[i / 2][j].y) * log2_scale;
      }
      if (!all_seen) {
        const int from = window > 0 ? position[i] - window : -1;
        EACH for (int j = 0; j < 8; j++) x[i][j] = mine + j < END(i) && mine + j > from ? x[i][j] : -INFINITY;
      }
      largest[i] = x[i][0];
      EACH for (int j = 1; j < 8; j++) largest[i] = fmax(largest[i], x[i][j]);
    }
    EACH for (int i = 0; i < 4; i++) {
      largest[i] = fmax(largest[i], quad_xor(largest[i], 1));
      largest[i] = fmax(largest[i], quad_xor(largest[i], 2));
    }
#if WD > 1
    EACH for (int i = 0; i < 4; i++)
      if (t == 0) shared[wd * ROWS + ROW_OF(i)] = largest[i];
    wg_barrier();
    EACH for (int i = 0; i < 4; i++)
      EACH for (int j = 0; j < WD; j++) largest[i] = fmax(largest[i], shared[j * ROWS + ROW_OF(i)]);
#endif
    uint4 e[4];
    EACH for (int i = 0; i < 4; i++) {
      largest[i] = fmax(largest[i], most[i]);
      const float base = largest[i] == -INFINITY ? 0.0f : largest[i], f = native_exp2(most[i] - base);
      uint w[4];
      sum[i] *= f;
      EACH for (int j = 0; j < 4; j++) {
        w[j] = bf_pair(native_exp2(x[i][2 * j] - base), native_exp2(x[i][2 * j + 1] - base));
        sum[i] += bf_lo(w[j]) + bf_hi(w[j]);
      }
      e[i] = vload4(0, w);
      if (f != 1.0f) {
        EACH for (int n = 0; n < GROUPS * 4; n++) {
          if (i % 2) o[i / 2][n].z *= f, o[i / 2][n].w *= f;
          else o[i / 2][n].x *= f, o[i / 2][n].y *= f;
        }
      }
      most[i] = largest[i];
    }
#if WD > 1
    EACH for (int i = 0; i < 4; i++) prob[(wd * ROWS + ROW_OF(i)) * 4 + t] = e[i];
    wg_barrier();
#endif
    ONE for (int c = 0; c < WD; c++) {
      const int token = key0 + c * 32;
#if WD > 1
      __local const uint4* a = prob + (c * ROWS + wr * 32 + g) * 4 + t;
      EACH for (int m = 0; m < 2; m++) e[2 * m] = a[m * 64], e[2 * m + 1] = a[m * 64 + 32];
#endif
      __global const uint* v_next = c + 1 < WD ? V_FROM(token + 32) : v_from;
      EACH for (int h = 0; h < GROUPS; h++) {
        uint v[16];
        EACH for (int i = 0; i < 16; i++) v[i] = ahead[i];
        if (h + 1 < GROUPS) load_lines(v_from + V_PANEL(h + 1), 0, 3, ahead);
        else if (c + 1 < WD) load_lines(v_next + V_PANEL(0), 0, 3, ahead);
        else load_lines(k_from, 4 * t, words - 1, ahead);
        if (token + 32 > u.end) {  // beyond lies anything, even NaN
          EACH for (int i = 0; i < 4; i++)
            EACH for (int j = 0; j < 4; j++) v[i * 4 + j] = token + 8 * t + 2 * i < u.end ? v[i * 4 + j] : 0u;
        }
        EACH for (int m = 0; m < 2; m++) {
          EACH for (int j = 0; j < 4; j++) o[m][h * 4 + j] = mma_16816((uint4)(e[2 * m].x, e[2 * m + 1].x, e[2 * m].y, e[2 * m + 1].y), B_OF(v, j, 0), o[m][h * 4 + j]);
          EACH for (int j = 0; j < 4; j++) o[m][h * 4 + j] = mma_16816((uint4)(e[2 * m].z, e[2 * m + 1].z, e[2 * m].w, e[2 * m + 1].w), B_OF(v, j, 1), o[m][h * 4 + j]);
        }
      }
      v_from = v_next;
    }
  }

  EACH for (int i = 0; i < 4; i++) {
    sum[i] += quad_xor(sum[i], 1);
    sum[i] += quad_xor(sum[i], 2);
  }
#if WD > 1
  EACH for (int i = 0; i < 4; i++)
    if (t == 0) shared[wd * ROWS + ROW_OF(i)] = sum[i];
  wg_barrier();
  EACH for (int i = 0; i < 4; i++) {
    sum[i] = 0.0f;
    EACH for (int j = 0; j < WD; j++) sum[i] += shared[j * ROWS + ROW_OF(i)];
  }
#endif
  const long unit = (((long)get_group_id(0) * head_groups + get_group_id(1)) * max_parts + get_group_id(2)) * ROWS;
  const int y_aligned = dim % 4 == 0 && ((int)(size_t)y & 15) == 0;
  EACH for (int i = 0; i < 4; i++) {
    const int row = ROW_OF(i), head = kv * group + chunk * heads_at_once + row % heads_at_once;
    if (!live || position[i] < 0) continue;
    __global float* to = p.parts > 1 ? part_o + (unit + row) * padded : y + ((long)(u.token + row / heads_at_once) * heads + head) * dim;
    float factor = 1.0f;
    if (p.parts > 1) {
      if (wd == 0 && t == 0) part_ml[(unit + row) * 2] = most[i] * LN2, part_ml[(unit + row) * 2 + 1] = sum[i];
    } else {
      const float sink = has_sinks ? sinks[head] * LOG2E : -INFINITY, both = fmax(most[i], sink);
      factor = native_exp2(most[i] - both) / (sum[i] * native_exp2(most[i] - both) + native_exp2(sink - both));
    }
    EACH for (int h = 0; h < GROUPS; h++) {
      float v[8];
      EACH for (int j = 0; j < 4; j++) {
        v[j] = (i % 2 ? o[i / 2][h * 4 + j].z : o[i / 2][h * 4 + j].x) * factor;
        v[4 + j] = (i % 2 ? o[i / 2][h * 4 + j].w : o[i / 2][h * 4 + j].y) * factor;
      }
      store_8(v, (wd * GROUPS + h) * 32 + 8 * t, dim, y_aligned, to);
    }
  }
}
