#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#include <utility>

#include "ops/matmul/matmul_product.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include "ops/matmul/matmul_tile.h"

namespace xylem {
namespace {

struct V256 {
  struct Vec {
    __m256 lo, hi;
  };
  using One = __m256;
  static constexpr int kRows = 6, kPanels = 1;  // 12 sums, 2 weights, 1 activation of 16 registers
  static Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v.lo), _mm256_storeu_ps(p + 8, v.hi); }
  static Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static Vec mac(One x, Vec w, Vec acc) { return {_mm256_fmadd_ps(x, w.lo, acc.lo), _mm256_fmadd_ps(x, w.hi, acc.hi)}; }
};

struct FmaF32 : V256 {
  using X = float;
  static constexpr int kPerLine = 1, kSub = 1;
  static One x(const X* row, int64_t i, int) { return _mm256_broadcast_ss(row + i); }
  static Vec w(const std::byte* line, int) { return load(reinterpret_cast<const float*>(line)); }
};
struct FmaPair : V256 {
  using X = float;
  static constexpr int kPerLine = 2, kSub = 2;
  static One x(const X* row, int64_t i, int s) { return _mm256_broadcast_ss(row + 2 * i + s); }
};
struct FmaBf16 : FmaPair {
  static Vec w(const std::byte* line, int s) { return {half(line, s), half(line + 32, s)}; }
  static __m256 half(const std::byte* p, int s) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_castsi256_ps(s ? _mm256_and_si256(v, _mm256_set1_epi32(int(0xffff0000u))) : _mm256_slli_epi32(v, 16));
  }
};
struct FmaF16 : FmaPair {
  static Vec w(const std::byte* line, int s) { return {half(line, s), half(line + 32, s)}; }
  static __m256 half(const std::byte* p, int s) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i low = s ? _mm256_srli_epi32(v, 16) : _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
  }
};

}  // namespace

const MicroTable& avx2_micros() { return make_table<FmaBf16, FmaF16, FmaF32>(); }
}  // namespace xylem
#pragma GCC pop_options

namespace xylem {
namespace {
const Kernel<MatMul> kernel(Dev::kCpu, "avx2", 20, plain_weights<Isa::kAvx2>, [](const MatMul& a, Device& d) {
  run_matmul(a, d, table_micro(avx2_micros(), a.w.dtype, a.round_x));
});
}  // namespace
}  // namespace xylem
#endif
