// SegmentAttention (segment_attention.h) by the kernels of Attention: K and V become a cache (attention.h), in which each segment
// is a row of the batch, and its end the limit of its queries.
//   PAIR   2: the cache holds bf16, 1: float32
//   BLOCK  tokens of a block
#include "shim.clh"
#define WG 256

// Segments begin in blocks cu / BLOCK + segment and in units, of 16 tokens, cu / 16 + segment: no two share one, whatever cu is.
#define FIRST_OF(segment, tokens) (cu[segment] / (tokens) + (segment))

FN uint word_of(float a, float b) {
#if PAIR == 2
  return (uint)f2bf(a) | (uint)f2bf(b) << 16;
#else
  return as_uint(a);
#endif
}

// A work-group takes 16 tokens of a head. Tokens past the segment's end are zeros.
KERNEL(WG)
void segment_pack(__global const float* k, int4 ks, __global const float* v, int4 vs, __global const int* cu, int segments, int dim, int padded,
                  __global uint* pool, __global int* table, int table_stride, __global int* kv_len, __global int* limits) {
  const int unit = (int)get_group_id(0), head = (int)get_group_id(1), heads = (int)get_num_groups(1), lid = (int)get_local_id(0);
  int segment = 0, hi = segments - 1;
  while (segment < hi) {
    const int mid = (segment + hi + 1) / 2;
    if (FIRST_OF(mid, 16) <= unit) segment = mid;
    else hi = mid - 1;
  }
  const int first = cu[segment], length = cu[segment + 1] - first, token = (unit - FIRST_OF(segment, 16)) * 16, last = length - 1;
  const int block = FIRST_OF(segment, BLOCK) + token / BLOCK, in_block = token % BLOCK;
  if (head == 0) {
    if (lid < 16 && token + lid < length) limits[first + token + lid] = length;
    if (lid == 0 && token == 0) kv_len[segment] = length;
    if (lid == 0 && in_block == 0 && token < length) table[(long)segment * table_stride + token / BLOCK] = block;
  }
  const int words = padded / PAIR * 16;  // of 16 tokens
  __global uint* to = pool + ((long)block * heads + head) * (2 * (BLOCK / 16) * words);
  for (int i = lid; i < words && token < length; i += WG) {
    const int at = token + i % 16, d = i / 16 * PAIR;
    const __global float* x = k + (long)(first + min(at, last)) * ks.x + (long)head * ks.y;
    const float a = x[min(d, dim - 1)], b = x[min(d + PAIR - 1, dim - 1)];
    to[(long)in_block / 16 * words + i] = word_of(at < length && d < dim ? a : 0.0f, at < length && d + PAIR - 1 < dim ? b : 0.0f);
  }
  to += BLOCK / 16 * words;
  for (int i = lid; i < words && token < length; i += WG) {
    const int lines = 16 / PAIR, d = i / (16 * lines) * 16 + i % 16, line = i / 16 % lines, at = token + line * PAIR;
    const __global float* x = v + (long)head * vs.y + min(d, dim - 1);
    const float a = x[(long)(first + min(at, last)) * vs.x], b = x[(long)(first + min(at + PAIR - 1, last)) * vs.x];
    const int to_line = d / 16 * (BLOCK / PAIR) + in_block / PAIR + line;
    to[to_line * 16 + i % 16] = word_of(at < length && d < dim ? a : 0.0f, at + PAIR - 1 < length && d < dim ? b : 0.0f);
  }
}
