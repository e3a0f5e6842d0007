// LatentStore (latent_attention.h): a work-group a token. Compiled with BF16 (1: of the cache).
#include "shim.clh"
#define WG 64

KERNEL(WG)
void latent_store(__global const float* latent, long latent_stride, __global const float* k_rope, long rope_stride, __global const int* slots,
#if BF16
                  __global ushort* pool,
#else
                  __global float* pool,
#endif
                  long pool_stride, long offset, int block_tokens, int rank, int width) {
  const int t = (int)get_group_id(0), slot = slots[t];
  if (slot < 0) return;  // nobody waits here for anybody
  pool += (long)(slot / block_tokens) * pool_stride + offset + (long)(slot % block_tokens) * width;
  latent += t * latent_stride;
  k_rope += t * rope_stride;
  for (int i = (int)get_local_id(0); i < width; i += WG) {
    const float x = i < rank ? latent[i] : k_rope[i - rank];
#if BF16
    pool[i] = f2bf(x);
#else
    pool[i] = x;
#endif
  }
}
