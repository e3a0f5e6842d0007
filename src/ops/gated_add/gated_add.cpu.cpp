#include "ops/gated_add/gated_add.h"

#define XYLEM_VEC_BODY "ops/gated_add/gated_add.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(GatedAdd);
}  // namespace
}  // namespace xylem
