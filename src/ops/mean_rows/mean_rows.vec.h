// Body of the MeanRows kernels (see ops/vec_math.h).
inline void run(const MeanRows& a, Device& d) {
  check(a);
  const int64_t C = a.y.cols(), stride = a.x.stride[0];
  const float factor = a.scale / float(a.n);
  const float *shift = a.shift.as(), *w = a.w.as();
  parallel_rows(d, a.y.dim[0], a.x.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const float* x = a.x.row(i * a.n);
      float* y = a.y.row(i);
      map(C, [&](int64_t at, int64_t c) {
        V v{};
        for (int r = 0; r < a.n; r++) v = v + load(x + r * stride + at, c);
        v = v * factor;
        if (w) v = (v - load(shift + at, c)) * load(w + at, c);
        store(y + at, v, c);
      });
    }
  });
}
