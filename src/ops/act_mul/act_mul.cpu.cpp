#include "ops/act_mul/act_mul.h"

#define XYLEM_VEC_BODY "ops/act_mul/act_mul.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(ActMul);
}  // namespace
}  // namespace xylem
