// Body of the Softcap kernels (see ops/vec_math.h). One row of logits is long enough to share: pieces of rows are the unit.
inline void run(const Softcap& a, Device& d) {
  constexpr int64_t kPiece = 4096;
  const int64_t n = a.x.cols(), pieces = (n + kPiece - 1) / kPiece;
  parallel_rows(d, a.x.rows() * pieces, a.x.numel() * 4, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; item++) {
      const int64_t m = item / pieces, from = item % pieces * kPiece;
      const float* x = a.x.row(m) + from;
      float* y = a.y.row(m) + from;
      map(std::min(kPiece, n - from), [&](int64_t i, int64_t c) { store(y + i, a.cap * tanh(load(x + i, c) / a.cap), c); });
    }
  });
}
