#include "ops/router/router.h"

#define XYLEM_VEC_BODY "ops/router/router.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(Router);
}  // namespace
}  // namespace xylem
