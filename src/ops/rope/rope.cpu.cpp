#include "ops/rope/rope.h"

#define XYLEM_VEC_BODY "ops/rope/rope.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(Rope);
XYLEM_VEC_KERNELS(RopeTable);
}  // namespace
}  // namespace xylem
