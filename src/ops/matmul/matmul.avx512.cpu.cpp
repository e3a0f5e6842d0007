#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own intrinsics
#include <immintrin.h>

#include <cstring>
#include <utility>

#include "ops/matmul/matmul_product.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#include "ops/matmul/matmul_512.h"
#include "ops/matmul/matmul_tile.h"

namespace xylem {
namespace {

struct FmaF32 : V512 {
  using X = float;
  static constexpr int kPerLine = 1, kSub = 1;
  static One x(const X* row, int64_t i, int) { return _mm512_set1_ps(row[i]); }
  static Vec w(const std::byte* line, int) { return _mm512_loadu_ps(line); }
};
struct FmaPair : V512 {
  using X = float;
  static constexpr int kPerLine = 2, kSub = 2;
  static One x(const X* row, int64_t i, int s) { return _mm512_set1_ps(row[2 * i + s]); }
};
struct FmaBf16 : FmaPair {
  static Vec w(const std::byte* line, int s) {
    const __m512i v = _mm512_loadu_si512(line);
    return _mm512_castsi512_ps(s ? _mm512_and_si512(v, _mm512_set1_epi32(int(0xffff0000u))) : _mm512_slli_epi32(v, 16));
  }
};
struct FmaF16 : FmaPair {
  static Vec w(const std::byte* line, int s) {
    const __m512i v = _mm512_loadu_si512(line);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(s ? _mm512_srli_epi32(v, 16) : v));
  }
};
struct FmaF8 : V512 {
  using X = float;
  static constexpr DType kType = DType::kF8E4M3;
  static constexpr int kPerLine = 4, kSub = 4, kGroup = int(kF8Group);
  static One x(const X* row, int64_t i, int s) { return _mm512_set1_ps(row[4 * i + s]); }
  // As float16 the bits of a float8, two exponents' widths apart, are its 256th part: scale() makes up for it.
  static Vec w(const std::byte* line, int s) {
    const __m512i v = _mm512_loadu_si512(line), high = s % 2 ? v : _mm512_slli_epi16(v, 8);
    const __m512i f = _mm512_and_si512(_mm512_srai_epi16(high, 1), _mm512_set1_epi16(int16_t(0xbf80)));
    // Only NaN, all bits of exponent and fraction, carries into the bit that float16 lacks to be NaN.
    const __m512i carry = _mm512_add_epi16(f, _mm512_set1_epi16(0x80));
    const __m512i half = _mm512_ternarylogic_epi32(f, carry, _mm512_set1_epi16(0x4000), 0xf8);  // f | carry & 0x4000
    // Inputs s % 2 of all rows, then s % 2 + 2.
    const __m512i order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1,  //
                                           30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i rows = _mm512_permutexvar_epi16(order, half);
    return _mm512_cvtph_ps(s < 2 ? _mm512_castsi512_si256(rows) : _mm512_extracti64x4_epi64(rows, 1));
  }
  static Vec scale(const std::byte* scales, int64_t g) {
    return _mm512_mul_ps(_mm512_loadu_ps(scales + 64 * g), _mm512_set1_ps(256));
  }
};
struct FmaMxfp4 : V512 {
  using X = float;
  static constexpr DType kType = DType::kMxfp4;
  static constexpr int kPerLine = 8, kSub = 8, kGroup = int(kMxfp4Group);
  static One x(const X* row, int64_t i, int s) { return _mm512_set1_ps(row[8 * i + s]); }
  // The lookup takes the low 4 bits of each word. Whole bytes are shifted by loading from further on: arithmetic is
  // what limits one row. Past the last line are scales.
  static Vec w(const std::byte* line, int s) {
    const __m512 values = _mm512_set_ps(-6, -4, -3, -2, -1.5f, -1, -0.5f, -0.0f, 6, 4, 3, 2, 1.5f, 1, 0.5f, 0);
    const __m512i v = _mm512_loadu_si512(line + s / 2);
    return _mm512_permutexvar_ps(s % 2 ? _mm512_srli_epi32(v, 4) : v, values);
  }
  static Vec scale(const std::byte* scales, int64_t g) {
    const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + kPanel * g)));
    return _mm512_castsi512_ps(_mm512_max_epu32(_mm512_slli_epi32(e, 23), _mm512_set1_epi32(0x400000)));
  }
};

}  // namespace

const MicroTable& avx512_micros() { return make_table<FmaBf16, FmaF16, FmaF32, FmaF8, FmaMxfp4>(); }
}  // namespace xylem
#pragma GCC pop_options

namespace xylem {
namespace {
const Kernel<MatMul> kernel(Dev::kCpu, "avx512", 30, has_isa<Isa::kAvx512>, [](const MatMul& a, Device& d) {
  run_matmul(a, d, table_micro(avx512_micros(), a.w.dtype, a.round_x));
});
}  // namespace
}  // namespace xylem
#endif
