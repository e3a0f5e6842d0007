// Body of the ResidualNorm kernels (see ops/vec_math.h).
#include "ops/rms_norm/mean_square.vec.h"

inline float inverse_rms(float mean_square, float eps) { return 1.0f / std::sqrt(mean_square + eps); }

// A summand of a row: x times its factor and weights, where it is normed.
struct Term {
  const float *x, *w;
  float factor = 1.0f, offset;
  Term(const ResidualNorm& a, const Tensor& x, const Tensor& w, int64_t row) : x(x ? x.row(row) : nullptr), w(w.as()), offset(a.w_offset) {
    if (w) factor = inverse_rms(mean_square(this->x, a.x.cols()), a.eps);
  }
  V operator()(int64_t i, int64_t c) const {
    const V v = load(x + i, c);
    return w ? v * factor * (load(w + i, c) + offset) : v;
  }
};

// Loads of a piece come before its store: r is changed in place.
template <bool kSum>
inline void residual_row(const ResidualNorm& a, int64_t row) {
  const int64_t n = a.x.cols();
  const float scale = a.scale ? a.scale.as()[0] : 1.0f, offset = a.w_offset;
  const Term x(a, a.x, a.x_w, row), z(a, a.z, a.z_w, row);
  float* r = a.r.row(row);
  const float* from = a.from ? a.from.row(row) : r;
  const auto s = [&](int64_t i, int64_t c) {
    if constexpr (kSum) return x(i, c) + z(i, c);
    else return x(i, c);
  };
  if (a.s_w) {
    const float factor = inverse_rms(mean_square_of(n, s), a.eps), *w = a.s_w.as();
    map(n, [&](int64_t i, int64_t c) { store(r + i, (s(i, c) * factor * (load(w + i, c) + offset) + load(from + i, c)) * scale, c); });
  } else {
    map(n, [&](int64_t i, int64_t c) { store(r + i, (s(i, c) + load(from + i, c)) * scale, c); });
  }
  if (!a.y[0]) return;
  const float factor = inverse_rms(mean_square(r, n), a.eps);
  for (int k = 0; k < a.outputs(); k++) {
    float* y = a.y[k].row(row);
    const float* w = a.y_w[k].as();
    map(n, [&](int64_t i, int64_t c) { store(y + i, load(r + i, c) * factor * (load(w + i, c) + offset), c); });
  }
}

inline void run(const ResidualNorm& a, Device& d) {
  check(a);
  parallel_rows(d, a.x.rows(), a.x.numel() * 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) a.z ? residual_row<true>(a, i) : residual_row<false>(a, i);
  });
}
