#include "ops/layer_norm/layer_norm.h"

#define XYLEM_VEC_BODY "ops/layer_norm/layer_norm.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(LayerNorm);
}  // namespace
}  // namespace xylem
