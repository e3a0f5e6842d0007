// Shared by the bodies of kernels that rotate heads (see ops/vec_math.h). y may be x.
inline void rotate_halves(const float* x, const float* cos, const float* sin, float* y, int64_t R) {
  map(R, [&](int64_t i, int64_t c) {
    const V u = load(x + i, c), v = load(x + R + i, c), co = load(cos + i, c), si = load(sin + i, c);
    store(y + i, fma(u, co, -(v * si)), c);
    store(y + R + i, fma(v, co, u * si), c);
  });
}

inline void rotate_pairs(const float* x, const float* cos, const float* sin, float* y, int64_t R) {
  for (int64_t i = 0; i < R; i++) {
    const float u = x[2 * i], v = x[2 * i + 1];
    y[2 * i] = u * cos[i] - v * sin[i];
    y[2 * i + 1] = v * cos[i] + u * sin[i];
  }
}
