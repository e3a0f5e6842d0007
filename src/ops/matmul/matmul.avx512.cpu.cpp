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

}  // namespace

const MicroTable& avx512_micros() { return make_table<FmaBf16, FmaF16, FmaF32>(); }
}  // namespace xylem
#pragma GCC pop_options

namespace xylem {
namespace {
const Kernel<MatMul> kernel(Dev::kCpu, "avx512", 30, plain_weights<Isa::kAvx512>, [](const MatMul& a, Device& d) {
  run_matmul(a, d, table_micro(avx512_micros(), a.w.dtype, a.round_x));
});
}  // namespace
}  // namespace xylem
#endif
