// Body of the Add kernels (see ops/vec_math.h).
inline void run(const Add& a, Device& d) {
  const int64_t n = a.y.cols();
  parallel_rows(d, a.y.rows(), a.y.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; m++) {
      const float *x = a.a.row(m), *z = a.b.row(m);
      float* y = a.y.row(m);
      map(n, [&](int64_t i, int64_t c) { store(y + i, (load(x + i, c) + load(z + i, c)) * a.scale, c); });
    }
  });
}
