// Body of the Clamp kernels (see ops/vec_math.h).
inline void run(const Clamp& a, Device& d) {
  check(a);
  const int64_t n = a.x.cols();
  const V lo = splat(a.lo.as()[0]), hi = splat(a.hi.as()[0]);
  parallel_rows(d, a.x.dim[0], a.x.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) {
      const float* x = a.x.row(t);
      float* y = a.y.row(t);
      map(n, [&](int64_t i, int64_t c) {
        V v = load(x + i, c);
        v = v < lo ? lo : v;
        store(y + i, v > hi ? hi : v, c);
      });
    }
  });
}
