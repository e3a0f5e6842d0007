// Products of bfloat16 pairs, summed in float32 by one instruction, vdpbf16ps. It takes denormals as zero.
#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own intrinsics
#include <immintrin.h>

#include <cstring>
#include <utility>

#include "ops/matmul/matmul_product.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")
#include "ops/matmul/matmul_512.h"
#include "ops/matmul/matmul_tile.h"

namespace xylem {
namespace {

struct DotBf16 : V512 {
  using X = uint16_t;
  using One = __m512i;
  static constexpr int kPerLine = 2, kSub = 1;
  static One x(const X* row, int64_t i, int) {
    int pair;
    std::memcpy(&pair, row + 2 * i, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  static Vec w(const std::byte* line, int) { return _mm512_loadu_ps(line); }
  static Vec mac(One x, Vec w, Vec acc) { return _mm512_dpbf16_ps(acc, __m512bh(x), __m512bh(_mm512_castps_si512(w))); }
};

void pack_bf16(const float* x, int64_t n, void* out) {
  auto* y = static_cast<uint16_t*>(out);
  for (int64_t i = 0; i < n; i += 32) {
    const uint32_t mask = n - i >= 32 ? ~0u : (1u << (n - i)) - 1;
    const __m512 lo = _mm512_maskz_loadu_ps(__mmask16(mask), x + i),
                 hi = _mm512_maskz_loadu_ps(__mmask16(mask >> 16), x + i + 16);
    _mm512_mask_storeu_epi16(y + i, mask | mask << 1, __m512i(_mm512_cvtne2ps_pbh(hi, lo)));  // one more after an odd n
  }
}

}  // namespace

const Micro& avx512_bf16_micro() {
  static constexpr Micro kMicro = make_micro<DotBf16>(pack_bf16);
  return kMicro;
}
}  // namespace xylem
#pragma GCC pop_options

namespace xylem {
namespace {
bool supports(const MatMul& a, const Device& d) {
  return cpu_isa(d) >= Isa::kAvx512Bf16 && a.round_x && a.w.dtype == DType::kBF16;
}
const Kernel<MatMul> kernel(Dev::kCpu, "avx512_bf16", bf16_dots_priority(), supports,
                            [](const MatMul& a, Device& d) { run_matmul(a, d, avx512_bf16_micro()); });
}  // namespace
}  // namespace xylem
#endif
