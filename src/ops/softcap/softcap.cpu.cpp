#include "ops/softcap/softcap.h"

#define XYLEM_VEC_BODY "ops/softcap/softcap.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(Softcap);
}  // namespace
}  // namespace xylem
