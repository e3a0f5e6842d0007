// LatentAttention (latent_attention.h) in the absorbed form: attention of absorbed queries to the latents themselves, split over
// keys where that helps. What comes before and after is latent_head_product.cl. Compiled with BF16 (1: of the cache), ALIGNED (1: rows
// of the cache begin at multiples of 8 elements), ROW (width = rank + rope_dim, rounded up to a multiple of 8 at least) and PAIRS (of a
// latent's elements that a work-item has).
#include "shim.clh"
#include "latent_rows.clh"
#define WG 128
#define HEADS 8                       // of a work-group
#define TILE 64                       // tokens
#define PAGE 16                       // tokens that lie one after the other: blocks are multiples of it
#define LANES 4                       // work-items that share the score of a token

#if BF16
typedef ushort element;
FN float widen(element e) { return bf2f(e); }
#else
typedef float element;
FN float widen(element e) { return e; }
#endif

// Elements [i, i + 8) of a row of the cache; past its end, some of the row.
FN float8 latent8(__global const element* p, int i, int width) {
#if ALIGNED && BF16
  const uint4 v = LD4(p + i);
  return (float8)(bf_lo(v.x), bf_hi(v.x), bf_lo(v.y), bf_hi(v.y), bf_lo(v.z), bf_hi(v.z), bf_lo(v.w), bf_hi(v.w));
#elif ALIGNED
  return (float8)(as_float4(LD4(p + i)), as_float4(LD4(p + i + 4)));
#else
  const int last = width - 1;
  return (float8)(widen(p[min(i, last)]), widen(p[min(i + 1, last)]), widen(p[min(i + 2, last)]), widen(p[min(i + 3, last)]), widen(p[min(i + 4, last)]),
                  widen(p[min(i + 5, last)]), widen(p[min(i + 6, last)]), widen(p[min(i + 7, last)]));
#endif
}
// Elements i and i + 1, i even.
FN float2 latent2(__global const element* p, int i, int width) {
#if ALIGNED && BF16
  const uint v = *(__global const uint*)(p + min(i, width - 2));
  return (float2)(bf_lo(v), bf_hi(v));
#elif ALIGNED
  return *(__global const float2*)(p + min(i, width - 2));
#else
  return (float2)(widen(p[min(i, width - 1)]), widen(p[min(i + 1, width - 1)]));
#endif
}
FN float dot8(float4 a, float4 b, float8 c, float sum) {
  sum = fma(a.x, c.s0, fma(a.y, c.s1, fma(a.z, c.s2, fma(a.w, c.s3, sum))));
  return fma(b.x, c.s4, fma(b.y, c.s5, fma(b.z, c.s6, fma(b.w, c.s7, sum))));
}

// qz [tokens][heads][width]: absorbed queries; with one split their first `rank` numbers become the weighted sums of latents. With
// more, partial [tokens][heads][splits][rank] are sums and stats [..][splits][2] the largest score and the sum of weights.
// Grid: blocks of heads, tokens, splits. Token 0 of the grid is token t0 of the step.
KERNEL(WG)
void latent_attend(__global float* qz, __global const element* pool, long pool_stride, long offset, int block_tokens, __global const int* table,
                   int table_stride, __global const int* cu_q, __global const int* kv_len, int rows, __global float* partial, __global float* stats, int t0,
                   int heads, int rank, int width, float scale) {
  __local float4 q[HEADS * ROW / 4], parts[HEADS * TILE];
  __local float weights[TILE * HEADS], shrink[HEADS], both[WG];  // weights [token][head]
  __local long pages[2][TILE / PAGE];                            // of a tile, in turn: where its tokens begin
  const int lid = (int)get_local_id(0), h0 = (int)get_group_id(0) * HEADS, t = (int)get_group_id(1), split = (int)get_group_id(2);
  const int splits = (int)get_num_groups(2), lane = lid % LANES, tok = lid / LANES, head = lid / 16, item = lid % 16;
  const int b = row_of_token(cu_q, rows, t0 + t), seen = seen_by(cu_q, kv_len, b, t0 + t);
  const int share = ((seen + splits - 1) / splits + TILE - 1) / TILE * TILE, begin = split * share, end = min(begin + share, seen);
  table += (long)b * table_stride;
  pool += offset;
  __global float* mine = qz + ((long)t * heads + h0) * width;
  for (int i = lid; i < HEADS * ROW; i += WG) {
    const int h = min(h0 + i / ROW, heads - 1) - h0, e = i % ROW;
    ((__local float*)q)[i] = e < width ? mine[(long)h * width + min(e, width - 1)] * scale : 0.0f;
  }
  float8 sum[2 * PAIRS];
  UNROLL for (int i = 0; i < 2 * PAIRS; ++i) sum[i] = (float8)(0.0f);
  float largest = -INFINITY, total = 0.0f;  // of `head`; the weights of this work-item's tokens
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);  // with one split, sums take the place of the queries at the end
  for (int start = begin, turn = 0; start < end; start += TILE, turn ^= 1) {
    if (lid < TILE / PAGE) {
      const int first = min(start + lid * PAGE, (end - 1) / PAGE * PAGE);
      pages[turn][lid] = (long)table[first / block_tokens] * pool_stride + (long)(first % block_tokens) * width;
    }
    {
      float a0[HEADS], a1[HEADS];
      UNROLL for (int h = 0; h < HEADS; ++h) a0[h] = a1[h] = 0.0f;
      const int i0 = min(start + tok, end - 1), i1 = min(start + tok + TILE / 2, end - 1);
      __global const element* p0 = pool + (long)table[i0 / block_tokens] * pool_stride + (long)(i0 % block_tokens) * width;
      __global const element* p1 = pool + (long)table[i1 / block_tokens] * pool_stride + (long)(i1 % block_tokens) * width;
      for (int i = lane * 8; i < width; i += LANES * 8) {
        const float8 c0 = latent8(p0, i, width), c1 = latent8(p1, i, width);
        UNROLL for (int h = 0; h < HEADS; ++h) {
          const float4 x = q[(h * ROW + i) / 4], y = q[(h * ROW + i) / 4 + 1];
          a0[h] = dot8(x, y, c0, a0[h]);
          a1[h] = dot8(x, y, c1, a1[h]);
        }
      }
      UNROLL for (int h = 0; h < HEADS; ++h) {
        ((__local float*)parts)[(h * TILE + tok) * LANES + lane] = a0[h];
        ((__local float*)parts)[(h * TILE + tok + TILE / 2) * LANES + lane] = a1[h];
      }
    }
    wg_barrier();
    float s[TILE / 16], most = largest;
    UNROLL for (int i = 0; i < TILE / 16; ++i) {
      const float4 v = parts[head * TILE + item + 16 * i];
      s[i] = start + item + 16 * i < end ? (v.x + v.y) + (v.z + v.w) : -INFINITY;
      most = fmax(most, s[i]);
    }
    both[lid] = most;
    wg_barrier();
    for (int i = 0; i < 16; ++i) most = fmax(most, both[head * 16 + i]);
    const float less = exp(largest - most);
    largest = most;
    total *= less;
    if (item == 0) shrink[head] = less;
    UNROLL for (int i = 0; i < TILE / 16; ++i) {
      const float w = exp(s[i] - most);
      total += w;
      weights[(item + 16 * i) * HEADS + head] = w;
    }
    wg_barrier();
    const float8 less8 = vload8(0, shrink);
    UNROLL for (int i = 0; i < 2 * PAIRS; ++i) sum[i] *= less8;
    const int tokens = min(TILE, end - start);
    for (int j = 0; j < tokens; j += 4) {
      __global const element* p = pool + pages[turn][j / PAGE] + (long)(j % PAGE) * width;
      float2 c[4][PAIRS];
      UNROLL for (int u = 0; u < 4; ++u)
        UNROLL for (int i = 0; i < PAIRS; ++i) c[u][i] = latent2(p + min(u, tokens - 1 - j) * width, 2 * (lid + i * WG), width);
      UNROLL for (int u = 0; u < 4; ++u) {
        const float8 w = vload8(j + u, weights);
        UNROLL for (int i = 0; i < PAIRS; ++i) {
          sum[2 * i] = fma((float8)(c[u][i].x), w, sum[2 * i]);
          sum[2 * i + 1] = fma((float8)(c[u][i].y), w, sum[2 * i + 1]);
        }
      }
    }
  }
  both[lid] = total;
  wg_barrier();
  total = 0.0f;
  for (int i = 0; i < 16; ++i) total += both[head * 16 + i];
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
    const float8 f = vload8(0, shrink);
    UNROLL for (int i = 0; i < PAIRS; ++i) {
      const int e = 2 * (lid + i * WG);
      const float8 x = sum[2 * i] * f, y = sum[2 * i + 1] * f;
      UNROLL for (int h = 0; h < HEADS; ++h) {
        if (h0 + h < heads && e < rank) mine[h * step + e] = pick(x, h);
        if (h0 + h < heads && e + 1 < rank) mine[h * step + e + 1] = pick(y, h);
      }
    }
  }
}
