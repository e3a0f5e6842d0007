#include "ops/gated_delta/delta_work.h"

#define XYLEM_VEC_BODY "ops/gated_delta/gated_delta.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(GatedDelta);
}  // namespace
}  // namespace xylem
