// KvStore (attention.h): a work-group takes 16 tokens of one head and 16 words of K, 16 dimensions of V: what makes lines of
// 64 bytes in the cache. Tokens of the panel lie beside each other in K, dimensions in V, and so do the work-items that write them.
// F32: the cache holds float32, else bf16.
#include "shim.clh"
#define WG 256
#define P (F32 ? 1 : 2)

// First word of a head's K (V follows) and the token within the block.
FN __global uint* slot_head(__global uint* pool, int slot, int block_tokens, long block_words, long head_words, int head, int* token) {
  const int block = slot / block_tokens;
  *token = slot - block * block_tokens;
  return pool + block * block_words + head * head_words;
}
// pool starts at the layer's slice; ks, vs: strides of tokens (x) and heads (y).
KERNEL(WG)
void kv_store(__global const float* k, int4 ks, __global const float* v, int4 vs, __global const int* slots, __global uint* pool, long offset_words,
              int T, int dim, int padded, int block_tokens, long block_words, long head_words) {
  const int lid = (int)get_local_id(0), x = lid % 16, y = lid / 16, head = (int)get_group_id(1), part = (int)get_group_id(2);
  pool += offset_words;
  int token;
  {  // K
    const int t = (int)get_group_id(0) * 16 + x, d = (part * 16 + y) * P, slot = t < T ? slots[t] : -1;
    if (slot >= 0 && d < padded) {
      __global uint* to = slot_head(pool, slot, block_tokens, block_words, head_words, head, &token);
      to += (long)(token / 16) * 16 * (padded / P) + d / P * 16 + token % 16;
      const __global float* from = k + (long)t * ks.x + (long)head * ks.y + d;
#if F32
      *to = d < dim ? as_uint(from[0]) : 0u;
#else
      *to = (d < dim ? (uint)f2bf(from[0]) : 0u) | (d + 1 < dim ? (uint)f2bf(from[1]) << 16 : 0u);
#endif
    }
  }
  {  // V
    const int t = (int)get_group_id(0) * 16 + y, d = part * 16 + x, slot = t < T ? slots[t] : -1;
    if (slot >= 0 && d < padded) {
      __global uint* to = slot_head(pool, slot, block_tokens, block_words, head_words, head, &token);
      to += (long)padded * block_tokens / P + (long)part * 16 * block_tokens / P + token / P * 16 + x;
      const __global float* from = v + (long)t * vs.x + (long)head * vs.y + d;
      const float own = d < dim ? from[0] : 0.0f;
      // A pair of tokens that this call stores together belongs to the even one: no two work-items write to the same word.
      const int even = token % 2 == 0, both = even && t + 1 < T && slots[t + 1] == slot + 1;
#if F32
      *to = as_uint(own);
      if (even && !both) to[16] = 0u;
#else
      if (even) *to = (uint)f2bf(own) | (both && d < dim ? (uint)f2bf(from[vs.x]) << 16 : 0u);
      else if (t == 0 || slots[t - 1] != slot - 1) ((__global ushort*)to)[1] = f2bf(own);
#endif
    }
  }
}
