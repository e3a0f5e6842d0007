// The recurrent form for gated_delta.vec.h: a pass over the state for what key and query see of it, one that writes it.

struct Steps {
  const DeltaHead h;
  DeltaWork& w;
  const int64_t K, V_;

  Steps(const DeltaHead& head, DeltaWork& work) : h(head), w(work), K(head.K()), V_(head.V()) {}

  // q, k and the decays of token t; kd and qd are what they see of the state before it decays.
  void load_token(int64_t t) const {
    unit_row(h.q(t), K, 1 / std::sqrt(float(K)), w.q), unit_row(h.k(t), K, 1, w.k);
    const V rate = splat(h.rate());
    const float *gate = h.gate(t), *bias = h.gate_bias();
    const V one = h.a.per_channel() ? V{} : decay_of(splat(*gate), splat(*bias), rate);
    padded(round_up(K, kSub), K, [&](int64_t i, int64_t m) {
      const V e = h.a.per_channel() ? decay_of(load(gate + i, m), load(bias + i, m), rate) : one;
      store(w.total + i, e), store(w.kd + i, load(w.k + i) * e), store(w.qd + i, load(w.q + i) * e);
    });
  }

  // Columns [c, c + P vectors) of the state, the last of m columns.
  template <int P>
  void columns(const float* from, float* to, int64_t c, int64_t m, float qk, float beta, const float* v,
               float* y) const {
    auto count = [&](int p) { return p == P - 1 ? m : int64_t(kN); };
    V seen[P] = {}, out[P] = {}, delta[P];
    const float* s = from + c;
    for (int64_t d = 0; d < K; d++, s += V_) {
      const V k = splat(w.kd[d]), q = splat(w.qd[d]);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
        const V x = load(s + p * kN, count(p));
        seen[p] = fma(k, x, seen[p]), out[p] = fma(q, x, out[p]);
      }
    }
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      delta[p] = (load(v + c + p * kN, count(p)) - seen[p]) * beta;
      store(y + c + p * kN, fma(splat(qk), delta[p], out[p]), count(p));
    }
    s = from + c;
    float* o = to + c;
    for (int64_t d = 0; d < K; d++, s += V_, o += V_) {
      const V k = splat(w.k[d]), e = splat(w.total[d]);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) store(o + p * kN, fma(k, delta[p], load(s + p * kN, count(p)) * e), count(p));
    }
  }

  void token(int64_t t, const float* from, float* to) const {
    load_token(t);
    V dot{};
    for (int64_t i = 0; i < K; i += kN) dot = fma(load(w.q + i), load(w.k + i), dot);
    const float qk = quick_sum(dot), beta = sigmoid(splat(h.b(t)))[0];
    int64_t c = 0;
    for (; c + 4 * kN <= V_; c += 4 * kN) columns<4>(from, to, c, kN, qk, beta, h.v(t), h.y(t));
    for (; c < V_; c += kN) columns<1>(from, to, c, std::min<int64_t>(kN, V_ - c), qk, beta, h.v(t), h.y(t));
  }

  void run() const {
    const StateCache& s = h.a.state;
    const int64_t begin = s.begin(h.row), end = begin + s.tokens(h.row), first = s.first_token(h.row);
    const float* from = h.part(s.in(h.row));
    for (int64_t p = begin; p < end;) {
      const int64_t kept = s.next_kept(h.row, p);
      float* to = h.part(s.out(h.row, kept));
      if (!to) to = w.state;
      if (!from) std::memset(to, 0, size_t(K * V_) * sizeof(float)), from = to;
      for (; p < kept; p++, from = to) token(first + p - begin, from, to);
    }
  }
};
