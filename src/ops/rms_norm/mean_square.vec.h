// Shared by the bodies of RMSNorm kernels (see ops/vec_math.h).

// Of value(i, c): c elements from i on.
template <class F>
inline float mean_square_of(int64_t n, F&& value) {
  V s[4] = {};
  int64_t i = 0;
  for (; i + 4 * kN <= n; i += 4 * kN)
    for (int k = 0; k < 4; k++) {
      const V v = value(i + k * kN, int64_t(kN));
      s[k] = fma(v, v, s[k]);
    }
  map(n - i, [&](int64_t j, int64_t c) {
    const V v = value(i + j, c);
    s[0] = fma(v, v, s[0]);
  });
  return sum((s[0] + s[1]) + (s[2] + s[3])) / float(n);
}
inline float mean_square(const float* x, int64_t n) {
  return mean_square_of(n, [x](int64_t i, int64_t c) { return load(x + i, c); });
}
