// The same as latent_attention.cl for bfloat16 latents, on matrix instructions. Float32 operands, queries and weights of tokens, go in as
// sums of two bfloat16 numbers, which keeps 16 bits of them; latents are exact. Each sub-group
// scores SG tokens of a tile for 8 heads, then sums up its own columns over all tokens of the tile for all heads.
// Compiled with ROW (width rounded up to a multiple of 16 at least) and HEAD_TILES (1 or 2: heads in eights).
#include "shim.clh"
#include "latent_rows.clh"
#define TILE 128                      // tokens
#define WG (TILE * HEAD_TILES)
#define HEADS (8 * HEAD_TILES)
#define PIECE 16                      // tokens of a fragment; they lie one after the other, as blocks are multiples of it
#define FRAGMENT 128                  // numbers of a fragment of 8 rows
#define COLUMN_PAIRS (2 / HEAD_TILES)  // of a work-item, for 512 columns
#if X_HW == 1
#define LINE(p) intel_sub_group_block_read(p)  // word `lane` of SG words
#else
#define LINE(p) ((p)[lane])
#endif
#define ITEMS (WG / HEADS)            // work-items for the softmax of a head
#define ITEM_TOKENS (TILE / ITEMS)

// Arguments and grid as those of latent_attention.cl.
KERNEL(WG)
void latent_attend(__global float* qz, __global const ushort* pool, long pool_stride, long offset, int block_tokens, __global const int* table,
                   int table_stride, __global const int* cu_q, __global const int* kv_len, int rows, __global float* partial, __global float* stats, int t0,
                   int heads, int rank, int width, float scale) {
  SG_DECL(WG);
  // In the order of fragments: high parts, low parts.
  __local ushort q_high[HEADS * ROW], q_low[HEADS * ROW], w_high[HEADS * TILE], w_low[HEADS * TILE];
  __local float scores[HEADS * TILE], shrink[HEADS], both[WG];
  const int lid = (int)get_local_id(0), h0 = (int)get_group_id(0) * HEADS, t = (int)get_group_id(1), split = (int)get_group_id(2);
  const int splits = (int)get_num_groups(2), lane = (int)get_sub_group_local_id(), group = (int)get_sub_group_id(), head = lid / ITEMS, item = lid % ITEMS;
  const int tile = group / (TILE / SG), column = group % (TILE / SG) * SG + lane;  // of the scores that a work-item computes
  const int b = row_of_token(cu_q, rows, t0 + t), seen = seen_by(cu_q, kv_len, b, t0 + t);
  const int share = ((seen + splits - 1) / splits + TILE - 1) / TILE * TILE, begin = split * share, end = min(begin + share, seen);
  table += (long)b * table_stride;
  pool += offset;
  __global float* mine = qz + ((long)t * heads + h0) * width;
  const int steps = width / 16;
  for (int i = lid; i < HEADS * width; i += WG) {
    const int r = i / width, e = i % width, at = ((r / 8) * steps + e / 16) * FRAGMENT + AF_IDX(r % 8, e % 16);
    const float x = mine[(long)(min(h0 + r, heads - 1) - h0) * width + e] * scale;
    const ushort high = f2bf(x);
    q_high[at] = high;
    q_low[at] = f2bf(x - bf2f(high));
  }
  float8 sum[HEAD_TILES][2 * COLUMN_PAIRS];
  UNROLL for (int m = 0; m < HEAD_TILES; ++m)
    UNROLL for (int i = 0; i < 2 * COLUMN_PAIRS; ++i) sum[m][i] = (float8)(0.0f);
  float largest = -INFINITY, total = 0.0f;  // of `head`; the weights of this work-item's tokens
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);  // with one split, sums take the place of the queries at the end
  for (int start = begin; start < end; start += TILE) {
    {
      const int i = min(start + column, end - 1);
      __global const ushort* p = pool + (long)table[i / block_tokens] * pool_stride + (long)(i % block_tokens) * width;
      float8 s = (float8)(0.0f);
      for (int k = 0; k < steps; ++k) {
        const int8 latent = as_int8((uint8)(LD4(p + 16 * k), LD4(p + 16 * k + 8)));
        s = mad8(af_get(q_high + (tile * steps + k) * FRAGMENT), latent, s);
        s = mad8(af_get(q_low + (tile * steps + k) * FRAGMENT), latent, s);
      }
      UNROLL for (int r = 0; r < 8; ++r) scores[(tile * 8 + r) * TILE + column] = pick(s, r);
    }
    wg_barrier();
    float s[ITEM_TOKENS], most = largest;
    UNROLL for (int i = 0; i < ITEM_TOKENS; ++i) {
      const int at = item + ITEMS * i;
      s[i] = start + at < end ? scores[head * TILE + at] : -INFINITY;
      most = fmax(most, s[i]);
    }
    both[lid] = most;
    wg_barrier();
    _Pragma("unroll 1") for (int i = 0; i < ITEMS; ++i) most = fmax(most, both[head * ITEMS + i]);
    const float less = exp(largest - most);
    largest = most;
    total *= less;
    if (item == 0) shrink[head] = less;
    UNROLL for (int i = 0; i < ITEM_TOKENS; ++i) {
      const int at = item + ITEMS * i, to = ((head / 8) * (TILE / PIECE) + at / PIECE) * FRAGMENT + AF_IDX(head % 8, at % PIECE);
      const float w = exp(s[i] - most);
      const ushort high = f2bf(w);
      total += w;
      w_high[to] = high;
      w_low[to] = f2bf(w - bf2f(high));
    }
    wg_barrier();
    UNROLL for (int m = 0; m < HEAD_TILES; ++m) {
      const float8 f = vload8(m, shrink);
      UNROLL for (int i = 0; i < 2 * COLUMN_PAIRS; ++i) sum[m][i] *= f;
    }
    const int tokens = min(TILE, end - start);
    for (int j = 0; j < tokens; j += PIECE) {
      const int last = min(PIECE, tokens - j) - 1, first = start + j;  // weights after the last one are 0, latents there anything
      __global const ushort* p = pool + (long)table[first / block_tokens] * pool_stride + (long)(first % block_tokens) * width;
      afrag high[HEAD_TILES], low[HEAD_TILES];
      UNROLL for (int m = 0; m < HEAD_TILES; ++m) {
        high[m] = af_get(w_high + (m * (TILE / PIECE) + j / PIECE) * FRAGMENT);
        low[m] = af_get(w_low + (m * (TILE / PIECE) + j / PIECE) * FRAGMENT);
      }
      UNROLL for (int c = 0; c < COLUMN_PAIRS; ++c) {
        __global const ushort* from = p + min((group * COLUMN_PAIRS + c) * SG * 2, rank - SG * 2);
        uint even[8], odd[8];  // of two neighbouring columns: words of two tokens
        UNROLL for (int i = 0; i < 8; ++i) {
          const uint x = LINE((__global const uint*)(from + min(2 * i, last) * width)), y = LINE((__global const uint*)(from + min(2 * i + 1, last) * width));
          even[i] = (x & 0xffffu) | y << 16;
          odd[i] = x >> 16 | (y & 0xffff0000u);
        }
        const int8 column0 = as_int8(vload8(0, even)), column1 = as_int8(vload8(0, odd));
        UNROLL for (int m = 0; m < HEAD_TILES; ++m) {
          sum[m][2 * c] = mad8(high[m], column0, sum[m][2 * c]);
          sum[m][2 * c + 1] = mad8(high[m], column1, sum[m][2 * c + 1]);
          sum[m][2 * c] = mad8(low[m], column0, sum[m][2 * c]);
          sum[m][2 * c + 1] = mad8(low[m], column1, sum[m][2 * c + 1]);
        }
      }
    }
  }
  both[lid] = total;
  wg_barrier();
  total = 0.0f;
  _Pragma("unroll 1") for (int i = 0; i < ITEMS; ++i) total += both[head * ITEMS + i];
  if (item == 0) shrink[head] = splits > 1 ? 1.0f : total > 0.0f ? 1.0f / total : 0.0f;
  if (splits > 1 && item == 0 && h0 + head < heads) {
    __global float* at = stats + (((long)t * heads + h0 + head) * splits + split) * 2;
    at[0] = largest;
    at[1] = total;
  }
  wg_barrier();
  if (splits > 1) mine = partial + (((long)t * heads + h0) * splits + split) * rank;
  const long step = splits > 1 ? (long)splits * rank : width;
  if (splits == 1 || begin < end) {
    UNROLL for (int m = 0; m < HEAD_TILES; ++m) {
      const float8 f = vload8(m, shrink);
      UNROLL for (int c = 0; c < COLUMN_PAIRS; ++c) {
        const int e = ((group * COLUMN_PAIRS + c) * SG + lane) * 2;
        const float8 x = sum[m][2 * c] * f, y = sum[m][2 * c + 1] * f;
        UNROLL for (int r = 0; r < 8; ++r)
          if (h0 + m * 8 + r < heads && e < rank) *(__global float2*)(mine + (m * 8 + r) * step + e) = (float2)(pick(x, r), pick(y, r));
      }
    }
  }
}
