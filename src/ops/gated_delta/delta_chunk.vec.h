// The chunked form for gated_delta.vec.h. Of a chunk's tokens i and j <= i, with the decays e:
//   delta = beta (v - what k sees of the incoming state) - sum over j < i of beta (k_i . k_j) e_{j+1} .. e_i delta_j
//   y = what q sees of the incoming state + sum over j <= i of (q_i . k_j) e_{j+1} .. e_i delta_j
// Decays are only ever multiplied, each rounded once: no sum of their logarithms can overflow or lose digits.

struct Chunks {
  const DeltaHead h;
  DeltaWork& w;
  const int64_t K, V_, rows, cols;  // those of the state, and padded

  Chunks(const DeltaHead& head, DeltaWork& work)
      : h(head), w(work), K(head.K()), V_(head.V()), rows(round_up(K, kSub)), cols(round_up(V_, kSub)) {}

  static constexpr int64_t kLine = 16;  // floats of a line of a cache

  float* key(int64_t i) const { return w.kq + pair_row(i) * w.sk; }
  float* query(int64_t i) const { return key(i) + kSub * w.sk; }

  // Tokens [from, to) of those that start at t, of which there are n: unit vectors, values and the gates of channels;
  // zeros, and decays of 1, from n on.
  void load_tokens(int64_t t, int64_t n, int64_t from, int64_t to) const {
    const float scale = 1 / std::sqrt(float(K));
    for (int64_t i = from; i < std::min(to, n); i++) {
      unit_row(h.q(t + i), K, scale, query(i)), unit_row(h.k(t + i), K, 1, key(i));
      const float* v = h.v(t + i);
      padded(cols, V_, [&](int64_t c, int64_t m) { store(w.v + i * w.sv + c, load(v + c, m)); });
      if (h.a.per_channel()) channel_gates(t + i, w.decay + i * w.sk);
    }
    for (int64_t i = std::max(from, n); i < to; i++) {
      std::fill_n(query(i), rows, 0.0f), std::fill_n(key(i), rows, 0.0f), std::fill_n(w.v + i * w.sv, cols, 0.0f);
      std::fill_n(w.decay + i * w.sk, rows, 1.0f);
    }
  }
  // Asks for what load_tokens() reads: rows of many heads lie between those of this head, so the processor does not
  // foresee them, and being a power of two apart only few of them fit into a cache. (Inline: gcc takes a function that
  // only prefetches for one without effect and drops the call.)
  __attribute__((always_inline)) void prefetch_tokens(int64_t t, int64_t n, int64_t from, int64_t to) const {
    for (int64_t i = from; i < std::min(to, n); i++) {
      for (int64_t d = 0; d < K; d += kLine)
        __builtin_prefetch(h.k(t + i) + d, 0, 2), __builtin_prefetch(h.q(t + i) + d, 0, 2);
      for (int64_t c = 0; c < V_; c += kLine) __builtin_prefetch(h.v(t + i) + c, 0, 2);
      for (int64_t d = 0; h.a.per_channel() && d < K; d += kLine) __builtin_prefetch(h.gate(t + i) + d, 0, 2);
    }
  }
  __attribute__((always_inline)) void prefetch_outputs(int64_t t, int64_t n, int64_t from) const {
    for (int64_t i = from; i < std::min(from + kSub, n); i++)
      for (int64_t c = 0; c < V_; c += kLine) __builtin_prefetch(h.y(t + i) + c, 1, 2);
  }

  void load_beta(int64_t t, int64_t n, int64_t size) const {
    for (int64_t i = 0; i < n; i++) w.beta[i] = h.b(t + i);
    for (int64_t i = 0; i < n; i += kN) store(w.beta + i, sigmoid(load(w.beta + i)));
    std::fill(w.beta + n, w.beta + size, 0.0f);
  }

  // ---- One decay per head.

  void head_gates(int64_t t, int64_t n, int64_t size) const {
    for (int64_t i = 0; i < n; i++) w.gate[i] = *h.gate(t + i);
    const V rate = splat(h.rate()), bias = splat(*h.gate_bias());
    for (int64_t i = 0; i < n; i += kN) store(w.gate + i, decay_of(load(w.gate + i), bias, rate));
    std::fill(w.gate + n, w.gate + size, 1.0f);
    float since = 1;
    for (int64_t i = 0; i < size; i++) w.prefix[i] = since *= w.gate[i];
    std::fill_n(w.total, rows, since);
  }

  void head_products(int64_t size) const {
    transpose(w.kq, w.sk, 2 * size, rows, w.kq_t, kPairStride);
    for (int64_t i = 0; i < size; i += kSub)
      for (int64_t j = 0; j <= i; j += kSub)
        product(kSub, 2 * kSub, rows, w.kq_t + 2 * j, kPairStride, w.kq_t + 2 * i, kPairStride, nullptr,
                w.ab + j * kPairStride + 2 * i, kPairStride);
    // since[i] = e_{j+1} .. e_i
    alignas(64) float since[kChunk] = {};
    for (int64_t j = size - 1; j >= 0; j--) {
      const V e = splat(j + 1 < size ? w.gate[j + 1] : 1.0f);
      for (int64_t i = j / kSub * kSub; i < size; i += kN) {
        const V before = load(since + i) * e, now = select(iota() + int32_t(i) == int32_t(j), splat(1.0f), before);
        float* at = w.ab + j * kPairStride + pair_row(i);
        store(at, load(at) * before * -load(w.beta + i)), store(at + kSub, load(at + kSub) * now);
        store(since + i, now);
      }
      const V left = splat(since[size - 1]);
      for (int64_t d = 0; d < rows; d += kN) store(w.kept + j * w.sk + d, load(key(j) + d) * left);
    }
  }

  // ---- One decay per channel.

  void channel_gates(int64_t t, float* out) const {
    const V rate = splat(h.rate());
    const float *gate = h.gate(t), *bias = h.gate_bias();
    padded(rows, K,
           [&](int64_t d, int64_t m) { store(out + d, decay_of(load(gate + d, m), load(bias + d, m), rate)); });
  }

  void channel_kept(int64_t size) const {
    for (int64_t d = 0; d < rows; d += kN) {
      V later = splat(1.0f);
      for (int64_t j = size - 1; j >= 0; j--) {
        store(w.kept + j * w.sk + d, load(key(j) + d) * later);
        later *= load(w.decay + j * w.sk + d);
      }
      store(w.total + d, later);
    }
  }

  // Tokens of one sub-block among themselves.
  void channel_diagonal(int64_t first) const {
    constexpr int kVecs = kN == 16 ? 8 : 4;
    for (int64_t j = 0; j < kSub; j++) {
      V a[kSub] = {}, b[kSub] = {};
      for (int64_t d = 0; d < rows; d += kVecs * kN) {
        const int vecs = int(std::min<int64_t>(kVecs, (rows - d) / kN));
        if (vecs == kVecs)
          channel_pairs<kVecs>(first, j, d, kVecs, a, b);
        else
          channel_pairs<0>(first, j, d, vecs, a, b);
      }
      a[j] = V{};
      float* at = w.ab + (first + j) * kPairStride + 2 * first;
      for (int64_t i = 0; i < kSub; i += kN)
        store(at + i, sums<>(a + i) * -load(w.beta + first + i)), store(at + kSub + i, sums<>(b + i));
    }
  }
  // a[i], b[i] += products of key j, as token i finds it, with key and query i; `vecs` vectors from dimension d, Fixed
  // if not 0.
  template <int Fixed>
  void channel_pairs(int64_t first, int64_t j, int64_t d, int vecs, V* a, V* b) const {
    const int n = Fixed ? Fixed : vecs;
    V left[8] = {};
#pragma GCC unroll 8
    for (int p = 0; p < n; p++) left[p] = load(key(first + j) + d + p * kN);
    for (int64_t i = j; i < kSub; i++) {
      const float *k = key(first + i) + d, *q = query(first + i) + d, *e = w.decay + (first + i) * w.sk + d;
      V x = a[i], y = b[i];
#pragma GCC unroll 8
      for (int p = 0; p < n; p++) {
        if (i > j) left[p] *= load(e + p * kN);
        x = fma(left[p], load(k + p * kN), x), y = fma(left[p], load(q + p * kN), y);
      }
      a[i] = x, b[i] = y;
    }
  }

  void channel_products(int64_t size) const {
    std::fill_n(w.part, rows, 1.0f);
    for (int64_t i = 0; i < size; i += kSub) {
      channel_diagonal(i);
      channel_decays(i);
      transpose(key(i), w.sk, 2 * kSub, rows, w.kq_t + 2 * i, kPairStride);
      if (i > 0) {
        product(i, 2 * kSub, rows, w.later_t, kChunkStride, w.kq_t + 2 * i, kPairStride, nullptr, w.ab + 2 * i,
                kPairStride);
        for (int64_t j = 0; j < i; j++)
          for (int64_t c = 0; c < kSub; c += kN) {
            float* at = w.ab + j * kPairStride + 2 * i + c;
            store(at, load(at) * -load(w.beta + i + c));
          }
      }
      // On to the next sub-block: earlier keys decay by this one's total, and its own join them. The state that its own
      // keys and queries see has decayed by those before.
      for (int64_t d = 0; d < rows; d++) {
        float* at = w.kq_t + d * kPairStride + 2 * i;
        for (int64_t c = 0; c < 2 * kSub; c += kN) store(at + c, load(at + c) * w.part[d]);
        for (int64_t j = 0; j < i; j += kN)
          store(w.later_t + d * kChunkStride + j, load(w.later_t + d * kChunkStride + j) * w.block_total[d]);
        w.part[d] *= w.block_total[d];
      }
      transpose(w.block, w.sk, kSub, rows, w.later_t + i, kChunkStride);
    }
  }
  // Keys of the sub-block decayed to its end, into `block`; in their place keys and queries that see what was there at
  // its start.
  void channel_decays(int64_t first) const {
    for (int64_t d = 0; d < rows; d += kN) {
      V since = splat(1.0f), later = since;
      for (int64_t i = kSub - 1; i >= 0; i--) {
        store(w.block + i * w.sk + d, load(key(first + i) + d) * later);
        later *= load(w.decay + (first + i) * w.sk + d);
      }
      for (int64_t i = first; i < first + kSub; i++) {
        since *= load(w.decay + i * w.sk + d);
        store(key(i) + d, load(key(i) + d) * since), store(query(i) + d, load(query(i) + d) * since);
      }
      store(w.block_total + d, since);
    }
  }

  // ---- Both.

  // Rows [first, first + kSub) of delta, of which all but the sub-block's own part is subtracted.
  void solve(int64_t first) const {
    for (int64_t c = 0; c < cols; c += kN) {
      float* at = w.delta + first * w.sv + c;
      V x[kSub];
#pragma GCC unroll 16
      for (int i = 0; i < kSub; i++) x[i] = load(at + i * w.sv);
#pragma GCC unroll 16
      for (int j = 0; j < kSub; j++) {
        const float* a = w.ab + (first + j) * kPairStride + 2 * first;
#pragma GCC unroll 16
        for (int i = j + 1; i < kSub; i++) x[i] = fma(splat(a[i]), x[j], x[i]);
      }
#pragma GCC unroll 16
      for (int i = 1; i < kSub; i++) store(at + i * w.sv, x[i]);
    }
  }

  // Tokens [t, t + n), n <= kChunk, which are loaded; loads the next `next` tokens, where the products leave it time.
  void chunk(int64_t t, int64_t n, int64_t next) const {
    static constexpr float kOnes[kSub] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int64_t size = round_up(n, kSub), next_size = round_up(next, kSub), pieces = 2 * size / kSub,
                  share = (next_size + pieces - 1) / pieces;
    prefetch_tokens(t + n, next, 0, share);
    load_beta(t, n, size);
    if (h.a.per_channel()) {
      std::fill_n(w.prefix, size, 1.0f);
      channel_kept(size), channel_products(size);
    } else {
      head_gates(t, n, size), head_products(size);
    }
    for (int64_t i = 0; i < size; i++)
      for (int64_t c = 0; c < cols; c += kN) store(w.delta + i * w.sv + c, load(w.v + i * w.sv + c) * w.beta[i]);
    for (int64_t i = 0, loaded = 0; i < 2 * size; i += kSub, loaded += share) {
      load_tokens(t + n, next, loaded, std::min(loaded + share, next_size));
      prefetch_tokens(t + n, next, loaded + share, loaded + 2 * share);
      product(kSub, cols, rows, w.kq_t + i, kPairStride, w.state, w.sv, nullptr, w.seen + i * w.sv, w.sv);
    }
    prefetch_outputs(t, n, 0);
    for (int64_t i = 0; i < size; i++) {
      const V factor = splat(-w.beta[i] * w.prefix[i]);
      const float* seen = w.seen + pair_row(i) * w.sv;
      float* delta = w.delta + i * w.sv;
      for (int64_t c = 0; c < cols; c += kN) store(delta + c, fma(factor, load(seen + c), load(delta + c)));
    }
    for (int64_t i = 0; i < size; i += kSub) {
      prefetch_outputs(t, n, i + kSub);
      if (i > 0) product(kSub, cols, i, w.ab + 2 * i, kPairStride, w.delta, w.sv, kOnes, w.delta + i * w.sv, w.sv);
      solve(i);
      product(kSub, cols, i + kSub, w.ab + 2 * i + kSub, kPairStride, w.delta, w.sv, w.prefix + i,
              w.seen + (2 * i + kSub) * w.sv, w.sv);
      for (int64_t r = i; r < std::min(i + kSub, n); r++) {
        float *y = h.y(t + r), *out = w.seen + (pair_row(r) + kSub) * w.sv;
        map(V_, [&](int64_t c, int64_t m) { store(y + c, load(out + c), m); });
      }
    }
    product(rows, cols, size, w.kept, w.sk, w.delta, w.sv, w.total, w.state, w.sv);
  }

  void load_state(const float* from) const {
    for (int64_t d = 0; d < rows; d++)
      padded(cols, from && d < K ? V_ : 0,
             [&](int64_t c, int64_t m) { store(w.state + d * w.sv + c, m ? load(from + d * V_ + c, m) : V{}); });
  }
  void save_state(float* to) const {
    for (int64_t d = 0; d < K; d++)
      map(V_, [&](int64_t c, int64_t m) { store(to + d * V_ + c, load(w.state + d * w.sv + c), m); });
  }

  void run() const {
    const StateCache& s = h.a.state;
    const int64_t begin = s.begin(h.row), end = begin + s.tokens(h.row), first = s.first_token(h.row) - begin;
    auto length = [&](int64_t p) { return p < end ? std::min(kChunk, s.next_kept(h.row, p) - p) : 0; };
    load_state(h.part(s.in(h.row)));
    int64_t n = length(begin);
    load_tokens(first + begin, n, 0, round_up(n, kSub));
    for (int64_t p = begin; p < end;) {
      const int64_t next = length(p + n);
      chunk(first + p, n, next);
      p += n, n = next;
      if (float* out = h.part(s.out(h.row, p))) save_state(out);
    }
  }
};
