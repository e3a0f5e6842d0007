#include "ops/sample/sample.h"

#include "ops/sample/penalties.h"
#include "ops/sample/sample_cut.h"

#define XYLEM_VEC_BODY "ops/sample/sample.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(Sample);

void take(const TakeTokens& a, Device&) {
  const int32_t *slots = a.slots.as<int32_t>(), *positions = a.positions.as<int32_t>();
  for (int64_t t = 0; t < a.tokens.numel(); t++)
    a.tokens.as<int32_t>()[t] = slots[t] < 0 ? 0 : a.token_pool.as<int32_t>()[slots[t] * a.token_pool.stride[0] + positions[t]];
}
const Kernel<TakeTokens> take_kernel(Dev::kCpu, "portable", 10, nullptr, take);
}  // namespace
}  // namespace xylem
