#include "ops/attention/attention_items.h"

namespace xylem {
namespace {
typedef int32_t PairBits __attribute__((may_alias, aligned(2)));  // two bfloat16 as one word
}  // namespace
}  // namespace xylem

#define XYLEM_VEC_BODY "ops/attention/attention.vec.h"
#define XYLEM_VEC_BF16
#include "ops/vec_math.h"

namespace xylem {
namespace {
XYLEM_VEC_KERNELS(Attention);
#if defined(__x86_64__)
bool has_bf16(const Attention& a, const Device& d) { return cpu_isa(d) >= Isa::kAvx512Bf16 && a.cache.pool.dtype == DType::kBF16; }
// Intel's cores take as long for a vector of bfloat16 pairs as for four of float32 products: there, widening is faster for
// more than a few rows, and as fast for few.
int dot_priority() {
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") ? 25 : 40;
}
const Kernel<Attention> dot(Dev::kCpu, "avx512_bf16", dot_priority(), has_bf16, [](const Attention& a, Device& d) { avx512_bf16::run(a, d); });
#endif
}  // namespace
}  // namespace xylem
