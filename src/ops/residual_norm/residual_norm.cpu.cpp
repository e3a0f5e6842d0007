#include "ops/residual_norm/residual_norm.h"

#define XYLEM_VEC_BODY "ops/residual_norm/residual_norm.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(ResidualNorm);
}  // namespace
}  // namespace xylem
