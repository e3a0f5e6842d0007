#include "ops/mean_rows/mean_rows.h"

#define XYLEM_VEC_BODY "ops/mean_rows/mean_rows.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(MeanRows);
}  // namespace
}  // namespace xylem
