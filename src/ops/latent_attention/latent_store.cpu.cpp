#include "ops/latent_attention/latent_attention.h"

#define XYLEM_VEC_BODY "ops/latent_attention/latent_store.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(LatentStore);
}  // namespace
}  // namespace xylem
