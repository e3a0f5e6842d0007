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
  struct Vec { __m256 lo, hi; };
  using One = __m256;
  static constexpr int kRows = 6, kPanels = 1;  // 12 sums, 2 weights, 1 activation of 16 registers
  static Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Vec all(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v.lo), _mm256_storeu_ps(p + 8, v.hi); }
  static Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static Vec mac(One x, Vec w, Vec acc) { return {_mm256_fmadd_ps(x, w.lo, acc.lo), _mm256_fmadd_ps(x, w.hi, acc.hi)}; }
  static Vec exp(Vec v) { return {exp8(v.lo), exp8(v.hi)}; }
  static __m256 exp8(__m256 v) {  // within 2 ulp; clamped to the normal numbers
    const auto c = [](float f) { return _mm256_set1_ps(f); };
    v = _mm256_min_ps(_mm256_max_ps(v, c(-87.3f)), c(88.3f));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(v, c(kLog2e)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 f = _mm256_fnmadd_ps(n, c(kLn2Low), _mm256_fnmadd_ps(n, c(kLn2High), v));
    __m256 p = c(0.0f);
#pragma GCC unroll 8
    for (float k : kExp) p = _mm256_fmadd_ps(p, f, c(k));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
  }
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
const Kernel<MatMul> kernel(Dev::kCpu, "avx2", 20, has_isa<Isa::kAvx2, MatMul>,
                            [](const MatMul& a, Device& d) { run_matmul(a, d, table_micro(avx2_micros(), a.w.dtype, a.round_x)); });
}  // namespace
}  // namespace xylem
#endif
