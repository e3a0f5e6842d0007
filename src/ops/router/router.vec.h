// Body of the Router kernels (see ops/vec_math.h).

// The largest of l among those not yet taken, ties to the lower id. A NaN is never larger; with nothing but NaN left, the first.
inline int32_t best_left(const float* l, const uint8_t* taken, int64_t E) {
  int32_t best = -1;
  for (int64_t e = 0; e < E; e++)
    if (!taken[e] && (best < 0 || l[e] > l[best] || l[best] != l[best])) best = int32_t(e);
  return best;
}

inline void route(const Router& a, int64_t t, uint8_t* taken) {
  const int64_t E = a.logits.cols(), k = a.ids.cols();
  const float* l = a.logits.row(t);
  int32_t* ids = a.ids.as<int32_t>() + t * k;
  float* w = a.weights.as() + t * k;
  std::memset(taken, 0, size_t(E));
  for (int64_t i = 0; i < k; i++) ids[i] = best_left(l, taken, E), taken[ids[i]] = 1;
  const float top = l[ids[0]];
  double all = 0, chosen = 0;
  for (int64_t i = 0; i < k; i++) chosen += double(w[i] = std::exp(l[ids[i]] - top));
  if (!a.renormalise) {
    V s{};
    map(E, [&](int64_t i, int64_t c) {
      const V e = exp(load(l + i, c) - top);
      s += iota() < splat_i(int32_t(c)) ? e : V{};
    });
    all = double(sum(s));
  }
  for (int64_t i = 0; i < k; i++) {
    w[i] = float(double(w[i]) / (a.renormalise ? chosen : all));
    if (a.expert_scale) w[i] *= a.expert_scale.as()[ids[i]];
  }
}

inline void run(const Router& a, Device& d) {
  const int64_t E = a.logits.cols();
  CHECK(a.ids.cols() <= E, a.ids.cols(), E);
  auto* taken = static_cast<uint8_t*>(cpu(d).scratch(size_t(cpu(d).pool().size() * E)));
  const int64_t rows = a.logits.rows();
  cpu(d).pool().run(int(std::min<int64_t>(cpu(d).pool().size(), std::max<int64_t>(1, rows * E * a.ids.cols() / 16384))), [&](CpuThread t) {
    const auto r = t.range(rows);
    for (int64_t i = r.begin; i < r.end; i++) route(a, i, taken + t.thread * E);
  });
}
