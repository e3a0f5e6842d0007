#include "ops/delta_step/delta_step.h"

#include <utility>

#include "ops/gated_delta/delta_work.h"

#define XYLEM_VEC_BODY "ops/delta_step/delta_step.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(DeltaStep);
}  // namespace
}  // namespace xylem
