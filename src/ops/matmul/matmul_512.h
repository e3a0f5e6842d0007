// 16 floats as one AVX-512 register. Included as matmul_tile.h is.
#pragma once

namespace xylem {
namespace {

struct V512 {
  using Vec = __m512;
  using One = __m512;
  static constexpr int kRows = 8, kPanels = 3;  // 24 sums, 3 weights, 1 activation of 32 registers
  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec all(float v) { return _mm512_set1_ps(v); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec mac(One x, Vec w, Vec acc) { return _mm512_fmadd_ps(x, w, acc); }
  static Vec exp(Vec v) {  // within 2 ulp; 0 and infinity where they are due
    v = _mm512_min_ps(_mm512_max_ps(v, all(-104.0f)), all(89.0f));
    const Vec n = _mm512_roundscale_ps(_mm512_mul_ps(v, all(kLog2e)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec f = _mm512_fnmadd_ps(n, all(kLn2Low), _mm512_fnmadd_ps(n, all(kLn2High), v));
    Vec p = all(0.0f);
#pragma GCC unroll 8
    for (float c : kExp) p = _mm512_fmadd_ps(p, f, all(c));
    return _mm512_scalef_ps(p, n);
  }
};

}  // namespace
}  // namespace xylem
