// Body of the CausalConv kernels (see ops/vec_math.h). A work item is one row of the step and kItem channels: few
// enough that the inputs of the last taps - 1 tokens are still in the first-level cache.

constexpr int64_t kItem = 256;
constexpr int64_t kAhead = 4;  // tokens whose inputs and outputs are asked for early: they lie far apart

// Even and odd elements of two vectors, one after the other.
inline V evens(V a, V b) { return __builtin_shuffle(a, b, iota() * 2); }
inline V odds(V a, V b) { return __builtin_shuffle(a, b, iota() * 2 + 1); }

// w[j * kItem + i] = tap j of channel c0 + i.
inline void transpose_taps(const Tensor& w, int64_t c0, int64_t n, float* out) {
  const int64_t taps = w.cols();
  int64_t i = 0;
  if (taps == 4 && w.stride[0] == 4)
    for (; i + kN <= n; i += kN) {
      const float* p = w.row(c0 + i);
      const V a = load(p), b = load(p + kN), c = load(p + 2 * kN), d = load(p + 3 * kN);
      const V even0 = evens(a, b), even1 = evens(c, d), odd0 = odds(a, b), odd1 = odds(c, d);
      store(out + i, evens(even0, even1)), store(out + kItem + i, evens(odd0, odd1));
      store(out + 2 * kItem + i, odds(even0, even1)), store(out + 3 * kItem + i, odds(odd0, odd1));
    }
  for (; i < n; i++)
    for (int64_t j = 0; j < taps; j++) out[j * kItem + i] = w.row(c0 + i)[j];
}

inline V silu(V x) { return x / (1.0f + exp(-x)); }

// Channels [c0, c0 + n) of row b of the step.
struct Item {
  const CausalConv& a;
  int64_t b, c0, n;
  const float *w, *zeros;  // [taps][kItem], [kItem]

  // Input i of the row; those before its first token are in the state.
  const float* input(int64_t i) const {
    if (i >= 0) return a.x.row(a.state.first_token(b) + i) + c0;
    const float* before = a.state.in(b);
    return before ? before + conv_slot(a.state.begin(b) + i, a.w.cols()) * a.x.cols() + c0 : zeros;
  }

  template <int kTaps>
  void token(int64_t i) const {
    const float* in[kTaps];
    for (int j = 0; j < kTaps; j++) in[j] = input(i - kTaps + 1 + j);
    float* y = a.y.row(a.state.first_token(b) + i) + c0;
    const int64_t later = std::min(i + kAhead, a.state.tokens(b) - 1) - i;
    const float *next = in[kTaps - 1] + later * a.x.stride[0], *next_y = y + later * a.y.stride[0];
    map(n, [&](int64_t c, int64_t m) {
      __builtin_prefetch(next + c, 0, 3), __builtin_prefetch(next_y + c, 1, 3);
      V sum{};
#pragma GCC unroll 4
      for (int j = 0; j < kTaps; j++) sum = fma(load(w + j * kItem + c), load(in[j] + c, m), sum);
      store(y + c, silu(sum), m);
    });
  }
  void token_any(int64_t i) const {
    const int64_t taps = a.w.cols();
    float* y = a.y.row(a.state.first_token(b) + i) + c0;
    map(n, [&](int64_t c, int64_t m) {
      V sum{};
      for (int64_t j = 0; j < taps; j++) sum = fma(load(w + j * kItem + c), load(input(i - taps + 1 + j) + c, m), sum);
      store(y + c, silu(sum), m);
    });
  }

  // The inputs before position `end`. The last state of a row may replace the one it was read from, where an input that
  // both hold has the same place.
  void keep(int64_t end, float* out) const {
    const int64_t C = a.x.cols(), taps = a.w.cols(), begin = a.state.begin(b);
    const int64_t from = out == a.state.in(b) ? std::max(begin, end - taps) : end - taps;
    for (int64_t p = from; p < end; p++)
      std::memcpy(out + conv_slot(p, taps) * C + c0, input(p - begin), size_t(n) * sizeof(float));
  }

  void run() const {
    const StateCache& s = a.state;
    const int64_t tokens = s.tokens(b), begin = s.begin(b);
    for (int64_t i = 0; i < tokens; i++) {
      if (a.w.cols() == 4)
        token<4>(i);
      else
        token_any(i);
    }
    for (int64_t p = begin; p < begin + tokens;) {
      p = s.next_kept(b, p);
      if (float* out = s.out(b, p)) keep(p, out);
    }
  }
};

// Floats of one thread: weights, zeros.
inline int64_t conv_thread_memory(const CausalConv& a) { return (a.w.cols() + 1) * kItem; }
inline int64_t conv_memory(const CausalConv& a, ThreadPool& pool) { return pool.size() * conv_thread_memory(a); }

inline void run(const CausalConv& a, ThreadPool& pool, float* memory) {
  const int64_t C = a.x.cols(), taps = a.w.cols(), B = a.state.rows(), blocks = (C + kItem - 1) / kItem;
  const int64_t floats = conv_thread_memory(a);
  constexpr int64_t kPerThread = 16384;  // outputs that pay for waking a thread
  const int64_t threads =
      std::clamp<int64_t>(a.x.rows() * C / kPerThread, 1, std::min<int64_t>(pool.size(), B * blocks));
  // Blocks outside, rows inside: every thread gets a like share of long and short rows.
  pool.run(int(threads), [&](CpuThread t) {
    float *w = memory + t.thread * floats, *zeros = w + taps * kItem;
    std::memset(zeros, 0, kItem * sizeof(float));
    const auto items = t.range(B * blocks);
    int64_t loaded = -1;
    for (int64_t i = items.begin; i < items.end; i++) {
      const int64_t c0 = i / B * kItem, n = std::min(kItem, C - c0);
      if (std::exchange(loaded, c0) != c0) transpose_taps(a.w, c0, n, w);
      Item{a, i % B, c0, n, w, zeros}.run();
    }
  });
}

inline void run(const CausalConv& a, Device& d) {
  ThreadPool& pool = cpu(d).pool();
  run(a, pool, static_cast<float*>(cpu(d).scratch(size_t(conv_memory(a, pool)) * sizeof(float))));
}
