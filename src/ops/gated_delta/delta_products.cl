// The chunked form of GatedDelta (gated_delta.h), part 1: what the tokens of a chunk do to each other, whatever the state is. Of
// tokens i and j <= i, with the decays e, keys and queries as unit vectors, and zeros where a state is kept between j and i:
//   a_ij = beta_i (k_i . k_j) e_{j+1} .. e_i,   seen_ij = (q_i . k_j) e_{j+1} .. e_i,   solve = (I + a)^-1 diag(beta)
// and the decays between token i and its chunk's start and end. A work-group is one head of one chunk; work-item n < 136 is tile n
// of 4 x 4 pairs on or below the diagonal. Decays are only ever multiplied: no sum of their logarithms can overflow or lose digits.
// Compiled with CHANNELS (1: a decay for each key dimension).
#include "shim.clh"
#include "state_cache.clh"
#include "delta_gates.clh"
#include "delta_chunks.clh"
#define WG 160
#define TILES (CHUNK / 4)
#define USED (TILES * (TILES + 1) / 2)
#define MOST 32            // groups of four key dimensions
#define BLOCK 16           // of the matrix that is inverted
#define AHEAD 8            // gates that are loaded together
#define LINE (CHUNK / 4 + 1)  // float4 between its rows

KERNEL(WG)
void delta_products(__global const float* q, long q_stride, int q_head, __global const float* k, long k_stride, int k_head, __global const float* gates, long gate_stride,
                    __global const float* betas, long beta_stride, __global const float* a_log, __global const float* dt_bias, int block_tokens,
                    __global const int* table, int table_stride, __global const int* cu_q, __global const int* kv_len, int rows, int tokens, int heads,
                    int key_heads, int K, __global float4* solve, __global float4* seen, __global float4* factors, __global float* prefix,
                    __global float* suffix) {
#if CHANNELS
  __local float4 mem[(CHUNK + TILES) * MOST];
  __local float4 *el = mem, *el_tile = mem + CHUNK * MOST;  // decays of tokens, and of each four of them
#else
  __local float4 mem[CHUNK * LINE];
  __local float el[CHUNK];
#endif
  __local float beta[CHUNK], k_unit[CHUNK], q_unit[CHUNK];
  __local int start[CHUNK], stop[CHUNK];  // the chunk may be cut where states are kept: the part of each token
  const int lid = (int)get_local_id(0), g = (int)get_group_id(0), h = (int)get_group_id(1), kh = h / (heads / key_heads);
  const int b = row_of_piece(cu_q, rows, g), piece = (g - cu_q[b] / CHUNK - b) * CHUNK, first = cu_q[b] + piece;
  const int n = min(cu_q[b + 1] - first, CHUNK), last = max(n - 1, 0), len = kv_len[b], begin = len - (cu_q[b + 1] - first);
  const float rate = -exp(a_log[h]);
  const long at = (long)h * tokens + first;  // of the chunk's first token in what this kernel writes
  const int safe = min(first, tokens - 1);   // a chunk without tokens reads something
  q += (long)safe * q_stride + (long)kh * q_head;
  k += (long)safe * k_stride + (long)kh * k_head;
  gates += (long)safe * gate_stride;
  betas += (long)safe * beta_stride;

  if (lid < CHUNK) {
    int from = 0, to = max(n, 0);
    for (int p = state_next(begin, len, block_tokens); p < begin + n; p = state_next(p, len, block_tokens)) {
      const int cut = p - begin, kept = state_kept(table, table_stride, b, p, len, block_tokens) >= 0;
      if (kept && cut <= lid) from = cut;
      if (kept && cut > lid) to = min(to, cut);
    }
    start[lid] = from;
    stop[lid] = to;
    beta[lid] = 1.0f / (1.0f + exp(-betas[(long)min(lid, last) * beta_stride + h]));
#if !CHANNELS
    el[lid] = lid < n ? decay_of(gates[(long)min(lid, last) * gate_stride + h], dt_bias[h], rate) : 1.0f;
#endif
  }
  if (lid < 2 * CHUNK) {
    const int t = min(lid % CHUNK, last);
    const __global float4* x = (const __global float4*)(lid < CHUNK ? k + t * k_stride : q + t * q_stride);
    float sum = 0.0f;
    for (int d = 0; d < K / 4; ++d) sum = dot4(x[d], x[d], sum);
    if (lid < CHUNK) k_unit[lid] = 1.0f / sqrt(sum + 1e-6f);
    else q_unit[lid - CHUNK] = 1.0f / (sqrt(sum + 1e-6f) * sqrt((float)K));
  }
  wg_barrier();
#if CHANNELS
  if (lid < K) {
    __local float* e = (__local float*)el;
    const float bias = dt_bias[h * K + lid];
    float since = 1.0f, tile = 1.0f;
    for (int i4 = 0; i4 < CHUNK; i4 += AHEAD) {
      float gate[AHEAD];
      UNROLL for (int u = 0; u < AHEAD; ++u) gate[u] = gates[(long)min(i4 + u, last) * gate_stride + h * K + lid];
      UNROLL for (int u = 0; u < AHEAD; ++u) {
        const int i = i4 + u;
        const float d = i < n ? decay_of(gate[u], bias, rate) : 1.0f;
        e[i * MOST * 4 + lid] = d;
        since = (i == start[i] ? 1.0f : since) * d;
        if (i < n) prefix[(at + i) * K + lid] = since;
        tile = (u % 4 == 0 ? 1.0f : tile) * d;
        if (u % 4 == 3) ((__local float*)el_tile)[i / 4 * MOST * 4 + lid] = tile;
      }
    }
    float later = 1.0f;
    for (int i = n - 1; i >= 0; --i) {
      if (i == stop[i] - 1) later = 1.0f;
      suffix[(at + i) * K + lid] = later;
      later *= e[i * MOST * 4 + lid];
    }
  }
  if (lid < n) factors[at + lid] = (float4)(k_unit[lid], q_unit[lid], k_unit[lid], 1.0f);
  wg_barrier();
#else
  if (lid < n) {
    float before = 1.0f, later = 1.0f;
    for (int m = start[lid]; m <= lid; ++m) before *= el[m];
    for (int m = lid + 1; m < stop[lid]; ++m) later *= el[m];
    factors[at + lid] = (float4)(before * k_unit[lid], before * q_unit[lid], later * k_unit[lid], before);
  }
#endif

  const int tile = min(lid, USED - 1);
  int ti = (int)((sqrt(8.0f * (float)tile + 1.0f) - 1.0f) * 0.5f);
  if (ti * (ti + 1) / 2 > tile) --ti;
  if ((ti + 1) * (ti + 2) / 2 <= tile) ++ti;
  const int tj = tile - ti * (ti + 1) / 2, i0 = 4 * ti, j0 = 4 * tj;
  float4 kk[4], qk[4];  // of row i, the four columns
  UNROLL for (int i = 0; i < 4; ++i) kk[i] = qk[i] = (float4)(0.0f);
  if (lid < USED && i0 < n) {
    for (int d = 0; d < K / 4; ++d) {
      float4 x[4];
      UNROLL for (int j = 0; j < 4; ++j) x[j] = ((const __global float4*)(k + min(j0 + j, last) * k_stride))[d];
#if CHANNELS
      float4 run = (float4)(1.0f);
      if (ti > tj) {
        for (int t = tj + 1; t < ti; ++t) run *= el_tile[t * MOST + d];
        UNROLL for (int j = 3; j >= 0; --j) {
          x[j] *= run;
          run *= el[(j0 + j) * MOST + d];
        }
        run = (float4)(1.0f);
      }
#endif
      UNROLL for (int i = 0; i < 4; ++i) {
        float4 ki = ((const __global float4*)(k + min(i0 + i, last) * k_stride))[d], qi = ((const __global float4*)(q + min(i0 + i, last) * q_stride))[d];
#if CHANNELS
        const float4 e = el[(i0 + i) * MOST + d];
        if (ti > tj) {
          run *= e;
          ki *= run;
          qi *= run;
        } else {
          UNROLL for (int j = 0; j < i; ++j) x[j] *= e;  // those after token i do not count
        }
#endif
        kk[i].x = dot4(ki, x[0], kk[i].x), kk[i].y = dot4(ki, x[1], kk[i].y), kk[i].z = dot4(ki, x[2], kk[i].z), kk[i].w = dot4(ki, x[3], kk[i].w);
        qk[i].x = dot4(qi, x[0], qk[i].x), qk[i].y = dot4(qi, x[1], qk[i].y), qk[i].z = dot4(qi, x[2], qk[i].z), qk[i].w = dot4(qi, x[3], qk[i].w);
      }
    }
  }
#if CHANNELS
  wg_barrier();  // the matrix takes the place of the decays
#endif
  if (lid < USED) {
#if !CHANNELS
    float4 run = (float4)(1.0f);  // decays of the four columns
    if (ti > tj) {
      float between = 1.0f;
      for (int m = j0 + 4; m < i0; ++m) between *= el[m];
      run.w = between;
      run.z = run.w * el[j0 + 3];
      run.y = run.z * el[j0 + 2];
      run.x = run.y * el[j0 + 1];
    }
#endif
    const float4 unit = (float4)(k_unit[j0], k_unit[j0 + 1], k_unit[j0 + 2], k_unit[j0 + 3]);
    UNROLL for (int i = 0; i < 4; ++i) {
      const int r = i0 + i;
      float4 f = unit;
#if !CHANNELS
      const float e = el[r];
      run *= ti > tj ? (float4)(e) : (float4)(i > 0 ? e : 1.0f, i > 1 ? e : 1.0f, i > 2 ? e : 1.0f, 1.0f);
      f *= run;
#endif
      const int4 column = (int4)(j0, j0 + 1, j0 + 2, j0 + 3), counts = column >= (int4)(start[r]) && (int4)(r < n ? -1 : 0);
      mem[r * LINE + tj] = select((float4)(0.0f), kk[i] * f * (beta[r] * k_unit[r]), counts && column < (int4)(r));
      if (r < n) seen[(at + r) * (CHUNK / 4) + tj] = select((float4)(0.0f), qk[i] * f * q_unit[r], counts && column <= (int4)(r));
    }
  }
  wg_barrier();

  // The inverse in place: blocks on the diagonal by substitution, a column each; then a row of blocks after the other,
  //   solve_IJ = -solve_II sum over J <= M < I of a_IM solve_MJ.
  __local float* m = (__local float*)mem;
  {
    const int at0 = lid / BLOCK * BLOCK, c = lid % BLOCK;
    float x[BLOCK];
    if (lid < CHUNK) {
      UNROLL for (int i = 0; i < BLOCK; ++i) {
        x[i] = i == c ? 1.0f : 0.0f;
        UNROLL for (int j = 0; j < i; ++j) x[i] = fma(-m[(at0 + i) * LINE * 4 + at0 + j], x[j], x[i]);
      }
    }
    wg_barrier();
    if (lid < CHUNK) UNROLL for (int i = 0; i < BLOCK; ++i) m[(at0 + i) * LINE * 4 + at0 + c] = x[i];
  }
  wg_barrier();
  for (int i1 = BLOCK; i1 < n; i1 += BLOCK) {
    const int quads = i1 / 4, all = BLOCK * quads;
    for (int half_ = 0; half_ < 2; ++half_) {
      float4 x[2];
      UNROLL for (int u = 0; u < 2; ++u) {
        const int o = min(lid + u * WG, all - 1), r = o / quads, c = o % quads;
        x[u] = (float4)(0.0f);
        if (half_ == 0)
          for (int j = c / 4 * BLOCK; j < i1; ++j) x[u] = fma((float4)(m[(i1 + r) * LINE * 4 + j]), mem[j * LINE + c], x[u]);
        else
          for (int j = 0; j <= r; ++j) x[u] = fma((float4)(-m[(i1 + r) * LINE * 4 + i1 + j]), mem[(i1 + j) * LINE + c], x[u]);
      }
      wg_barrier();
      UNROLL for (int u = 0; u < 2; ++u) {
        const int o = lid + u * WG;
        if (o < all) mem[(i1 + o / quads) * LINE + o % quads] = x[u];
      }
      wg_barrier();
    }
  }
  for (int o = lid; o < n * (CHUNK / 4); o += WG) {
    const int r = o / (CHUNK / 4), c = o % (CHUNK / 4);
    if (c * 4 <= r) solve[(at + r) * (CHUNK / 4) + c] = mem[r * LINE + c] * (float4)(beta[4 * c], beta[4 * c + 1], beta[4 * c + 2], beta[4 * c + 3]);
  }
}
