// The last step of latent_attention.cl and latent_attention_matrix.cl where keys were split.
#include "shim.clh"
#define WG 128
#define MAX_SPLITS 64

// Merges the splits into qz. Grid: heads, tokens, pieces of WG numbers.
KERNEL(WG)
void latent_merge(__global float* qz, __global const float* partial, __global const float* stats, int heads, int rank, int width, int splits) {
  __local float largest[MAX_SPLITS], factor[MAX_SPLITS];
  const int lid = (int)get_local_id(0), e = (int)get_group_id(2) * WG + lid;
  const long at = (long)get_group_id(1) * heads + get_group_id(0);
  if (lid < splits) largest[lid] = stats[(at * splits + lid) * 2];
  wg_barrier();
  if (lid < splits) {
    float most = -INFINITY;
    for (int i = 0; i < splits; ++i) most = fmax(most, largest[i]);
    factor[lid] = largest[lid] == -INFINITY ? 0.0f : exp(largest[lid] - most);
  }
  wg_barrier();
  float sum = 0.0f, total = 0.0f;
  partial += at * splits * rank + min(e, rank - 1);
  for (int i = 0; i < splits; ++i) {
    if (factor[i] == 0.0f) continue;  // nothing was written, or nothing that counts
    total = fma(factor[i], stats[(at * splits + i) * 2 + 1], total);
    sum = fma(factor[i], partial[(long)i * rank], sum);
  }
  if (e < rank) qz[at * width + e] = total > 0.0f ? sum / total : 0.0f;
}
