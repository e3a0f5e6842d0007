// Body of the ActMul kernels (see ops/vec_math.h). All but the exact GELU are made of sigmoids, the other GELU
// because (1 + tanh u) / 2 = sigmoid(2u): no cancellation for negative x.

// The part of normal numbers below x, (1 + erf(x / sqrt 2)) / 2: absolute error about 1.5e-7, and no cancellation for negative x.
inline V normal_cdf(V x) {
  const V a = x < 0.0f ? -x : x, t = 1.0f / fma(splat(0.35f), a, splat(1.0f));
  constexpr float kTail[] = {0.143871854f, -0.255503869f, 0.158928598f, -0.0229367271f, 0.105432789f, 0.119852469f, 0.139859079f, 0.13962157f};
  V p = splat(-0.0291257775f);
  for (float c : kTail) p = fma(p, t, splat(c));
  const V beyond = p * t * exp(-0.5f * a * a);
  return x < 0.0f ? beyond : 1.0f - beyond;
}

template <Act kAct>
inline V gated(V x, V up, float limit) {
  if constexpr (kAct == Act::kGeluErf) return x * normal_cdf(x) * up;
  if constexpr (kAct == Act::kSilu) return x / (1.0f + exp(-x)) * up;
  if constexpr (kAct == Act::kSigmoid) return up / (1.0f + exp(-x));
  if constexpr (kAct == Act::kClampedSwiglu) {
    const V most = splat(limit), g = x < most ? x : most, low = up > -most ? up : -most;
    return g / (1.0f + exp(-1.702f * g)) * ((low < most ? low : most) + 1.0f);
  }
  const V u = x * fma(splat(0.044715f) * x, x, splat(1.0f));
  return x / (1.0f + exp(-1.5957691216057308f * u)) * up;
}

template <Act kAct, bool kUp>
inline void act_mul(const ActMul& a, int64_t m, int64_t begin, int64_t n) {
  const float *g = a.gate.row(m) + begin, *u = kUp ? a.up.row(m) + begin : nullptr;
  float* y = a.y.row(m) + begin;
  map(n, [&](int64_t i, int64_t c) { store(y + i, gated<kAct>(load(g + i, c), kUp ? load(u + i, c) : splat(1.0f), a.limit), c); });
}

// One row's part, by activation.
using Piece = void (*)(const ActMul& a, int64_t m, int64_t begin, int64_t n);
constexpr Piece kPieces[] = {act_mul<Act::kSilu, true>, act_mul<Act::kGeluTanh, true>, act_mul<Act::kSigmoid, true>, act_mul<Act::kClampedSwiglu, true>, act_mul<Act::kGeluErf, true>};
constexpr Piece kAlone[] = {act_mul<Act::kSilu, false>, act_mul<Act::kGeluTanh, false>, act_mul<Act::kSigmoid, false>, nullptr, act_mul<Act::kGeluErf, false>};

inline void run(const ActMul& a, Device& d) {
  check(a);
  constexpr int64_t kPiece = 1024;  // also one row is shared by threads
  const int64_t n = a.y.cols(), pieces = (n + kPiece - 1) / kPiece;
  const Piece piece = (a.up ? kPieces : kAlone)[size_t(a.act)];
  parallel_rows(d, a.y.rows() * pieces, a.y.numel() * 2, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; item++) {
      const int64_t from = item % pieces * kPiece;
      piece(a, item / pieces, from, std::min(kPiece, n - from));
    }
  });
}
