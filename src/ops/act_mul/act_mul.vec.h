// Body of the ActMul kernels (see ops/vec_math.h). Both activations are x * sigmoid(z), for GELU because
// (1 + tanh u) / 2 = sigmoid(2u): no cancellation for negative x.
template <Act kAct>
inline V activate(V x) {
  if constexpr (kAct == Act::kSilu) return x / (1.0f + exp(-x));
  const V u = x * fma(splat(0.044715f) * x, x, splat(1.0f));
  return x / (1.0f + exp(-1.5957691216057308f * u));
}

template <Act kAct>
inline void act_mul(const ActMul& a, int64_t m, int64_t begin, int64_t n) {
  const float *g = a.gate.row(m) + begin, *u = a.up.row(m) + begin;
  float* y = a.y.row(m) + begin;
  map(n, [&](int64_t i, int64_t c) { store(y + i, activate<kAct>(load(g + i, c)) * load(u + i, c), c); });
}

inline void run(const ActMul& a, Device& d) {
  constexpr int64_t kPiece = 1024;  // also one row is shared by threads
  const int64_t n = a.y.cols(), pieces = (n + kPiece - 1) / kPiece;
  parallel_rows(d, a.y.rows() * pieces, a.y.numel() * 2, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; item++) {
      const int64_t m = item / pieces, from = item % pieces * kPiece, count = std::min(kPiece, n - from);
      if (a.act == Act::kSilu) act_mul<Act::kSilu>(a, m, from, count);
      else act_mul<Act::kGeluTanh>(a, m, from, count);
    }
  });
}
