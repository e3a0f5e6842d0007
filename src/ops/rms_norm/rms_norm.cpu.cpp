#include "ops/rms_norm/rms_norm.h"

#define XYLEM_VEC_BODY "ops/rms_norm/rms_norm.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(RmsNorm);
}  // namespace
}  // namespace xylem
