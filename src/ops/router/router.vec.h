// Body of the Router kernels (see ops/vec_math.h).

// The largest of x among those not yet taken, ties to the lower id. A NaN is never larger; with nothing but NaN left, the first.
inline int32_t best_left(const float* x, const uint8_t* taken, int64_t n) {
  int32_t best = -1;
  for (int64_t i = 0; i < n; i++)
    if (!taken[i] && (best < 0 || x[i] > x[best] || x[best] != x[best])) best = int32_t(i);
  return best;
}

// s: [E] scores out.
inline void score(const Router& a, const float* l, float* s) {
  const int64_t E = a.logits.cols();
  if (a.score == Router::Score::kSigmoid) {
    map(E, [&](int64_t i, int64_t c) { store(s + i, 1.0f / (1.0f + exp(-load(l + i, c))), c); });
    return;
  }
  float top = l[0];
  for (int64_t e = 1; e < E; e++) top = l[e] > top ? l[e] : top;
  double all = 0;
  map(E, [&](int64_t i, int64_t c) { store(s + i, exp(load(l + i, c) - top), c); });
  for (int64_t e = 0; e < E; e++) all += double(s[e]);
  for (int64_t e = 0; e < E; e++) s[e] = float(double(s[e]) / all);
}

// Marks the experts of groups that are not kept.
inline void drop_groups(const Router& a, const float* choice, float* group_best, uint8_t* group_taken, uint8_t* taken) {
  const int64_t E = a.logits.cols(), n = E / a.groups;
  for (int64_t g = 0; g < a.groups; g++) {
    float first = -INFINITY, second = -INFINITY;
    for (int64_t e = g * n; e < (g + 1) * n; e++) {
      if (choice[e] > first) second = first, first = choice[e];
      else if (choice[e] > second) second = choice[e];
    }
    group_best[g] = a.group_score == Router::GroupScore::kMax || n == 1 ? first : first + second;
  }
  std::memset(group_taken, 0, size_t(a.groups));
  for (int i = 0; i < a.top_groups; i++) group_taken[best_left(group_best, group_taken, a.groups)] = 1;
  for (int64_t g = 0; g < a.groups; g++) std::memset(taken + g * n, !group_taken[g], size_t(n));
}

// memory: 3 E floats and 2 E bytes
inline void route(const Router& a, int64_t t, std::byte* memory) {
  const int64_t E = a.logits.cols(), k = a.ids.cols();
  auto *s = reinterpret_cast<float*>(memory), *choice = s + E, *group_best = choice + E;
  auto *taken = reinterpret_cast<uint8_t*>(group_best + E), *group_taken = taken + E;
  score(a, a.logits.row(t), s);
  for (int64_t e = 0; e < E; e++) choice[e] = a.bias ? s[e] + a.bias.as()[e] : s[e];
  // Without a bias the logits decide: equal scores of unequal logits must not become ties.
  const float* order = a.bias ? choice : a.logits.row(t);
  if (a.groups > 1) drop_groups(a, a.group_score == Router::GroupScore::kMax ? order : choice, group_best, group_taken, taken);
  else std::memset(taken, 0, size_t(E));
  int32_t* ids = a.ids.as<int32_t>() + t * k;
  float* w = a.weights.as() + t * k;
  double total = a.score == Router::Score::kSigmoid ? 1e-20 : 0;
  for (int64_t i = 0; i < k; i++) {
    ids[i] = best_left(order, taken, E), taken[ids[i]] = 1;
    total += double(s[ids[i]]);
  }
  for (int64_t i = 0; i < k; i++) {
    double v = double(s[ids[i]]) * double(a.scale);
    if (a.renormalise) v /= total;
    if (a.expert_scale) v *= double(a.expert_scale.as()[ids[i]]);
    w[i] = float(v);
  }
}

inline void run(const Router& a, Device& d) {
  check(a);
  const int64_t E = a.logits.cols(), rows = a.logits.rows();
  const size_t each = size_t(E) * (3 * sizeof(float) + 2) + 64;
  auto* memory = static_cast<std::byte*>(cpu(d).scratch(size_t(cpu(d).pool().size()) * (each / 64 + 1) * 64));
  cpu(d).pool().run(int(std::min<int64_t>(cpu(d).pool().size(), std::max<int64_t>(1, rows * E * a.ids.cols() / 16384))), [&](CpuThread t) {
    const auto r = t.range(rows);
    for (int64_t i = r.begin; i < r.end; i++) route(a, i, memory + size_t(t.thread) * (each / 64 + 1) * 64);
  });
}
