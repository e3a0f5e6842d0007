#include "ops/clamp/clamp.h"

#define XYLEM_VEC_BODY "ops/clamp/clamp.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(Clamp);
}  // namespace
}  // namespace xylem
