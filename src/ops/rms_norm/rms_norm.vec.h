// Body of the RmsNorm kernels (see ops/vec_math.h).
#include "ops/rms_norm/mean_square.vec.h"

// Loads of a piece come before its store, so that y may be x.
template <bool kWeight>
inline void norm_row(const RmsNorm& a, const float* x, float* y, int64_t n) {
  const float inv = 1.0f / std::sqrt(mean_square(x, n) + a.eps);
  const float* w = a.w.as();
  map(n, [&](int64_t i, int64_t c) {
    V v = load(x + i, c) * inv;
    if constexpr (kWeight) v = v * (load(w + i, c) + a.w_offset);
    store(y + i, v, c);
  });
}

template <bool kWeight>
inline void norm_rows(const RmsNorm& a, int64_t begin, int64_t end) {
  const int64_t n = a.x.cols(), inner = a.x.rank == 3 ? a.x.dim[1] : 1;
  // Rows of heads are short: their addresses are stepped, not divided out.
  int64_t outer = begin / inner, at = begin % inner;
  auto row = [&](const Tensor& t) {
    return t.rank == 3 ? t.as() + outer * t.stride[0] + at * t.stride[1] : t.row(outer * inner + at);
  };
  for (int64_t i = begin; i < end; i++) {
    norm_row<kWeight>(a, row(a.x), row(a.y), n);
    if (++at == inner) at = 0, outer++;
  }
}

inline void run(const RmsNorm& a, Device& d) {
  parallel_rows(d, a.x.rows(), a.x.numel(), [&](int64_t begin, int64_t end) {
    if (a.w) norm_rows<true>(a, begin, end);
    else norm_rows<false>(a, begin, end);
  });
}
