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
  static constexpr int kGroup = 0;
  static constexpr int kRows = 6, kPanels = 1;  // 12 sums, 2 weights, 1 activation of 16 registers
  static Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v.lo), _mm256_storeu_ps(p + 8, v.hi); }
  static Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static Vec mac(One x, Vec w, Vec acc) { return {_mm256_fmadd_ps(x, w.lo, acc.lo), _mm256_fmadd_ps(x, w.hi, acc.hi)}; }
  static Vec fold(Vec sum, Vec scale, Vec acc) {
    return {_mm256_fmadd_ps(sum.lo, scale.lo, acc.lo), _mm256_fmadd_ps(sum.hi, scale.hi, acc.hi)};
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
// Float16 s of each pair.
inline __m256 from_f16(__m256i v, int s) {
  const __m256i low = s ? _mm256_srli_epi32(v, 16) : _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}
struct FmaF16 : FmaPair {
  static Vec w(const std::byte* line, int s) { return {half(line, s), half(line + 32, s)}; }
  static __m256 half(const std::byte* p, int s) {
    return from_f16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), s);
  }
};
struct FmaF8 : V256 {
  using X = float;
  static constexpr DType kType = DType::kF8E4M3;
  static constexpr int kPerLine = 4, kSub = 4, kGroup = int(kF8Group);
  static One x(const X* row, int64_t i, int s) { return _mm256_broadcast_ss(row + 4 * i + s); }
  static Vec w(const std::byte* line, int s) { return {half(line, s), half(line + 32, s)}; }
  // As float16 the bits of a float8, two exponents' widths apart, are its 256th part: scale() makes up for it.
  static __m256 half(const std::byte* p, int s) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i high = s % 2 ? v : _mm256_slli_epi16(v, 8);
    const __m256i f = _mm256_and_si256(_mm256_srai_epi16(high, 1), _mm256_set1_epi16(int16_t(0xbf80)));
    // Only NaN, all bits of exponent and fraction, carries into the bit that float16 lacks to be NaN.
    const __m256i carry = _mm256_add_epi16(f, _mm256_set1_epi16(0x80));
    return from_f16(_mm256_or_si256(f, _mm256_and_si256(carry, _mm256_set1_epi16(0x4000))), s / 2);
  }
  static Vec scale(const std::byte* scales, int64_t g) {
    const Vec v = load(reinterpret_cast<const float*>(scales + 64 * g));
    const __m256 m = _mm256_set1_ps(256);
    return {_mm256_mul_ps(v.lo, m), _mm256_mul_ps(v.hi, m)};
  }
};
struct FmaMxfp4 : V256 {
  using X = float;
  static constexpr DType kType = DType::kMxfp4;
  static constexpr int kPerLine = 8, kSub = 8, kGroup = int(kMxfp4Group);
  static One x(const X* row, int64_t i, int s) { return _mm256_broadcast_ss(row + 8 * i + s); }
  static Vec w(const std::byte* line, int s) { return {half(line + s / 2, s % 2), half(line + 32 + s / 2, s % 2)}; }
  // The lookup takes the low 3 bits of each word, the fourth is the sign. Whole bytes are shifted by loading from
  // further on; past the last line are scales.
  static __m256 half(const std::byte* p, int nibble) {
    const __m256 values = _mm256_set_ps(6, 4, 3, 2, 1.5f, 1, 0.5f, 0);
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(v, nibble ? 24 : 28), _mm256_set1_epi32(int(0x80000000u)));
    return _mm256_or_ps(_mm256_permutevar8x32_ps(values, nibble ? _mm256_srli_epi32(v, 4) : v),
                        _mm256_castsi256_ps(sign));
  }
  static Vec scale(const std::byte* scales, int64_t g) {
    return {half_scale(scales + kPanel * g), half_scale(scales + kPanel * g + 8)};
  }
  static __m256 half_scale(const std::byte* p) {
    const __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_max_epu32(_mm256_slli_epi32(e, 23), _mm256_set1_epi32(0x400000)));
  }
};

}  // namespace

const MicroTable& avx2_micros() { return make_table<FmaBf16, FmaF16, FmaF32, FmaF8, FmaMxfp4>(); }
}  // namespace xylem
#pragma GCC pop_options

namespace xylem {
namespace {
const Kernel<MatMul> kernel(Dev::kCpu, "avx2", 20, has_isa<Isa::kAvx2>, [](const MatMul& a, Device& d) {
  run_matmul(a, d, table_micro(avx2_micros(), a.w.dtype, a.round_x));
});
}  // namespace
}  // namespace xylem
#endif
