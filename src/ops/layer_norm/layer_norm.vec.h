// Body of the LayerNorm kernels (see ops/vec_math.h).

// Sums of value(i, c) and of its squares: c elements from i on.
template <class F>
inline void sums(int64_t n, F&& value, float* plain, float* squares) {
  V s[4] = {}, q[4] = {};
  const auto add = [&](int k, V v) { s[k] = s[k] + v, q[k] = fma(v, v, q[k]); };
  int64_t i = 0;
  for (; i + 4 * kN <= n; i += 4 * kN)
    for (int k = 0; k < 4; k++) add(k, value(i + k * kN, int64_t(kN)));
  map(n - i, [&](int64_t j, int64_t c) { add(0, value(i + j, c)); });
  *plain = sum((s[0] + s[1]) + (s[2] + s[3])), *squares = sum((q[0] + q[1]) + (q[2] + q[3]));
}

inline void norm_row(const float* x, const float* w, const float* bias, float* y, int64_t n, float eps) {
  const float count = float(n);
  float total, squares, rest;
  sums(n, [x](int64_t i, int64_t c) { return load(x + i, c); }, &total, &squares);
  const float middle = total / count;  // the mean but for its rounding, which the second pass sees
  const auto centred = [&](int64_t i, int64_t c) {
    V d = load(x + i, c) - middle;
    return c == kN ? d : select(iota() < splat_i(int32_t(c)), d, V{});
  };
  sums(n, centred, &rest, &squares);
  const float shift = rest / count, inv = 1.0f / std::sqrt(std::max(squares / count - shift * shift, 0.0f) + eps);
  map(n, [&](int64_t i, int64_t c) { store(y + i, fma(((load(x + i, c) - middle) - shift) * inv, load(w + i, c), load(bias + i, c)), c); });
}

inline void run(const LayerNorm& a, Device& d) {
  check(a);
  const int64_t n = a.x.cols();
  parallel_rows(d, a.x.dim[0], 2 * a.x.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) norm_row(a.x.row(t), a.w.as(), a.bias.as(), a.y.row(t), n, a.eps);
  });
}
