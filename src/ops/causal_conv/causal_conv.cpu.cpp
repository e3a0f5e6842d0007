#include "ops/causal_conv/causal_conv.h"

#include <utility>

#define XYLEM_VEC_BODY "ops/causal_conv/causal_conv.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(CausalConv);
}  // namespace
}  // namespace xylem
