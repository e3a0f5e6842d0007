// Vectors of XYLEM_VEC_LANES floats and functions on them; included by vec_math.h inside a namespace, once per width.
// (maskz forms of intrinsics where GCC 12 warns of its own header otherwise.) Arithmetic and comparison are the compiler's own operators on vectors; comparisons give masks for select().
constexpr int kN = XYLEM_VEC_LANES;
typedef float V __attribute__((vector_size(4 * kN)));
typedef int32_t VI __attribute__((vector_size(4 * kN)));
typedef uint32_t VU __attribute__((vector_size(4 * kN)));
typedef uint16_t VH __attribute__((vector_size(2 * kN)));
typedef float VUnaligned __attribute__((vector_size(4 * kN), aligned(4), may_alias));
typedef uint32_t VUUnaligned __attribute__((vector_size(4 * kN), aligned(2), may_alias));
typedef uint16_t VHUnaligned __attribute__((vector_size(2 * kN), aligned(2), may_alias));

inline V splat(float x) { return x - V{}; }
inline VI splat_i(int32_t x) { return x - VI{}; }
inline V bits_f(VU x) { return (V)x; }
inline VU bits_u(V x) { return (VU)x; }
inline V select(VI mask, V a, V b) { return mask ? a : b; }
// 0, 1, 2, ...
inline VI iota() {
  VI v;
  for (int i = 0; i < kN; i++) v[i] = i;
  return v;
}

inline V load(const float* p) { return *reinterpret_cast<const VUnaligned*>(p); }
inline void store(float* p, V v) { *reinterpret_cast<VUnaligned*>(p) = v; }
inline VU load_u(const void* p) { return *static_cast<const VUUnaligned*>(p); }
inline void store_u(void* p, VU v) { *static_cast<VUUnaligned*>(p) = v; }
// The first n <= kN elements; zeros beyond.
inline V load(const float* p, int64_t n) {
  if (n == kN) return load(p);
#if XYLEM_VEC_LANES == 16
  return _mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
#elif XYLEM_VEC_LANES == 8
  return _mm256_maskload_ps(p, (__m256i)(iota() < splat_i(int32_t(n))));
#else
  V v{};
  for (int64_t i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
inline void store(float* p, V v, int64_t n) {
  if (n == kN) return store(p, v);
#if XYLEM_VEC_LANES == 16
  _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), v);
#elif XYLEM_VEC_LANES == 8
  _mm256_maskstore_ps(p, (__m256i)(iota() < splat_i(int32_t(n))), v);
#else
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

// a * b + c, rounded once where the machine can.
inline V fma(V a, V b, V c) {
#if XYLEM_VEC_LANES == 16
  return _mm512_fmadd_ps(a, b, c);
#elif XYLEM_VEC_LANES == 8
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}
// The larger one; b when either is NaN.
inline V max(V a, V b) {
#if XYLEM_VEC_LANES == 16
  return _mm512_maskz_max_ps(0xffff, a, b);
#elif XYLEM_VEC_LANES == 8
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
inline float sum(V v) {
  for (int w = kN / 2; w > 0; w /= 2)
    for (int i = 0; i < w; i++) v[i] += v[i + w];
  return v[0];
}
inline float max(V v) {
  for (int w = kN / 2; w > 0; w /= 2)
    for (int i = 0; i < w; i++) v[i] = v[i] > v[i + w] ? v[i] : v[i + w];
  return v[0];
}
// Any lane of a mask set.
inline bool any(VI mask) {
#if XYLEM_VEC_LANES == 16
  return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif XYLEM_VEC_LANES == 8
  return _mm256_movemask_ps((__m256)mask) != 0;
#else
  int32_t r = 0;
  for (int i = 0; i < kN; i++) r |= mask[i];
  return r != 0;
#endif
}

// Calls f(i, n) for pieces of n = kN elements (a constant to the compiler) and one shorter piece at the end.
template <class F>
inline void map(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + kN <= n; i += kN) f(i, int64_t(kN));
  if (i < n) f(i, n - i);
}

// e^x, error about 1 ulp. Exactly 1 at 0; 0 from -104 down, denormals before; infinity from 88.73 up; NaN stays.
inline V exp(V x) {
  x = x < -110.0f ? splat(-110.0f) : x;
  x = x > 100.0f ? splat(100.0f) : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const V shifted = fma(x, splat(1.44269504088896341f), splat(kRound));
  const V n = shifted - kRound;
  V r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  V p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r) + 1.0f;
#if XYLEM_VEC_LANES == 16
  return _mm512_maskz_scalef_ps(0xffff, p, n);
#else
  // 2^n in two factors, so that n beyond the exponents of normal numbers overflows or underflows as it should.
  const VI k = (VI)bits_u(shifted) - splat_i(0x4b400000);
  const VI half = k >> 1;
  return p * (V)((half + 127) << 23) * (V)((k - half + 127) << 23);
#endif
}

// tanh x, error about 2 ulp.
inline V tanh(V x) {
  const V a = x < 0.0f ? -x : x;
  const V z = x * x;
  V p = splat(-5.70498872745e-3f);
  p = fma(p, z, splat(2.06390887954e-2f));
  p = fma(p, z, splat(-5.37397155531e-2f));
  p = fma(p, z, splat(1.33314422036e-1f));
  p = fma(p, z, splat(-3.33332819422e-1f));
  const V small = fma(p * z, x, x);
  const V t = 1.0f - 2.0f / (exp(a + a) + 1.0f);
  return a < 0.625f ? small : (x < 0.0f ? -t : t);
}

// Bits of x rounded to bfloat16, nearest even, in the low half of each lane; NaN stays NaN.
inline VU bf16_bits(V x) {
  const VU u = bits_u(x);
  const VU rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const VU nan = (u >> 16) | 0x40u;
  return x == x ? rounded : nan;
}
inline void store_bf16(uint16_t* p, V x) { *reinterpret_cast<VHUnaligned*>(p) = __builtin_convertvector(bf16_bits(x), VH); }
