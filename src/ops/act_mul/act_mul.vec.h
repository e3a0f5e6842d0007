// Body of the ActMul kernels (see ops/vec_math.h). Every activation is made of sigmoids, GELU because
// (1 + tanh u) / 2 = sigmoid(2u): no cancellation for negative x.
template <Act kAct>
inline V gated(V x, V up, float limit) {
  if constexpr (kAct == Act::kSilu) return x / (1.0f + exp(-x)) * up;
  if constexpr (kAct == Act::kSigmoid) return up / (1.0f + exp(-x));
  if constexpr (kAct == Act::kClampedSwiglu) {
    const V most = splat(limit), g = x < most ? x : most, low = up > -most ? up : -most;
    return g / (1.0f + exp(-1.702f * g)) * ((low < most ? low : most) + 1.0f);
  }
  const V u = x * fma(splat(0.044715f) * x, x, splat(1.0f));
  return x / (1.0f + exp(-1.5957691216057308f * u)) * up;
}

template <Act kAct>
inline void act_mul(const ActMul& a, int64_t m, int64_t begin, int64_t n) {
  const float *g = a.gate.row(m) + begin, *u = a.up.row(m) + begin;
  float* y = a.y.row(m) + begin;
  map(n, [&](int64_t i, int64_t c) { store(y + i, gated<kAct>(load(g + i, c), load(u + i, c), a.limit), c); });
}

// One row's part, by activation.
using Piece = void (*)(const ActMul& a, int64_t m, int64_t begin, int64_t n);
constexpr Piece kPieces[] = {act_mul<Act::kSilu>, act_mul<Act::kGeluTanh>, act_mul<Act::kSigmoid>, act_mul<Act::kClampedSwiglu>};

inline void run(const ActMul& a, Device& d) {
  constexpr int64_t kPiece = 1024;  // also one row is shared by threads
  const int64_t n = a.y.cols(), pieces = (n + kPiece - 1) / kPiece;
  const Piece piece = kPieces[size_t(a.act)];
  parallel_rows(d, a.y.rows() * pieces, a.y.numel() * 2, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; item++) {
      const int64_t from = item % pieces * kPiece;
      piece(a, item / pieces, from, std::min(kPiece, n - from));
    }
  });
}
