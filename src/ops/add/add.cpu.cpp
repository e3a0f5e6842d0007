#include "ops/add/add.h"

#define XYLEM_VEC_BODY "ops/add/add.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(Add);
}  // namespace
}  // namespace xylem
