#include "ops/blend_rows/blend_rows.h"

#define XYLEM_VEC_BODY "ops/blend_rows/blend_rows.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(BlendRows);
}  // namespace
}  // namespace xylem
