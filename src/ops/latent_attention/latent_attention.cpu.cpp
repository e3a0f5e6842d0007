#include <utility>

#include "ops/latent_attention/latent_items.h"

#define XYLEM_VEC_BODY "ops/latent_attention/latent_attention.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(LatentAttention);
}  // namespace
}  // namespace xylem
