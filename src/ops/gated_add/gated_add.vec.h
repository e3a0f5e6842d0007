// Body of the GatedAdd kernels (see ops/vec_math.h).
inline void run(const GatedAdd& op, Device& d) {
  parallel_rows(d, op.y.rows(), op.y.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) {
      const float gate = 1.0f / (1.0f + std::exp(-op.gate.row(t)[0]));
      const float *a = op.a.row(t), *b = op.b.row(t);
      float* y = op.y.row(t);
      map(op.y.cols(), [&](int64_t i, int64_t n) { store(y + i, fma(load(b + i, n), splat(gate), load(a + i, n)), n); });
    }
  });
}
