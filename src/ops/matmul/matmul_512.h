// 16 floats as one AVX-512 register. Included as matmul_tile.h is.
#pragma once

namespace xylem {
namespace {

struct V512 {
  using Vec = __m512;
  using One = __m512;
  static constexpr int kGroup = 0;
  static constexpr int kRows = 8, kPanels = 3;  // 24 sums, 3 weights, 1 activation of 32 registers
  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec mac(One x, Vec w, Vec acc) { return _mm512_fmadd_ps(x, w, acc); }
  static Vec fold(Vec sum, Vec scale, Vec acc) { return _mm512_fmadd_ps(sum, scale, acc); }
};

}  // namespace
}  // namespace xylem
