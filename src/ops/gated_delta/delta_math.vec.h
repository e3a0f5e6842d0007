// Gates, unit vectors and small products of matrices for gated_delta.vec.h.

// log(1 + e^x); x itself above 20.
inline V softplus(V x) {
  const V y = exp(x), u = 1.0f + y;
  const VI exponent = (VI)(bits_u(u) - 0x3f3504f3u) >> 23;  // u = 2^exponent * m, m from sqrt(1/2) to sqrt(2)
  const V e = __builtin_convertvector(exponent, V), f = bits_f(bits_u(u) - ((VU)exponent << 23)) - 1.0f, z = f * f;
  V p = splat(7.0376836292e-2f);
  p = fma(p, f, splat(-1.1514610310e-1f));
  p = fma(p, f, splat(1.1676998740e-1f));
  p = fma(p, f, splat(-1.2420140846e-1f));
  p = fma(p, f, splat(1.4249322787e-1f));
  p = fma(p, f, splat(-1.6668057665e-1f));
  p = fma(p, f, splat(2.0000714765e-1f));
  p = fma(p, f, splat(-2.4999993993e-1f));
  p = fma(p, f, splat(3.3333331174e-1f));
  p = p * (f * z);
  p = fma(e, splat(-2.12194440e-4f), p);
  p = fma(z, splat(-0.5f), p);
  p = fma(y - (u - 1.0f), max(1.0f - 0.5f * y, V{}), p);  // what the sum 1 + y lost, about over u; nothing beside log 3
  return select(x > 20.0f, x, fma(e, splat(0.693359375f), p + f));
}
inline V decay_of(V gate, V bias, V rate) { return exp(rate * softplus(gate + bias)); }
inline V sigmoid(V x) { return 1.0f / (1.0f + exp(-x)); }

// Calls f(i, m) for every vector of n elements, m of them among the first `real`: for buffers that are padded.
template <class F>
inline void padded(int64_t n, int64_t real, F&& f) {
  for (int64_t i = 0; i < n; i += kN) f(i, std::clamp<int64_t>(real - i, 0, kN));
}

// sum() for where it is on the way of everything else.
inline float quick_sum(V v) {
#pragma GCC unroll 4
  for (int w = kN / 2; w > 0; w /= 2) v += __builtin_shuffle(v, iota() ^ w);
  return v[0];
}

// out = scale * x / |x|, zeros behind it.
inline void unit_row(const float* x, int64_t n, float scale, float* out) {
  V square{};
  map(n, [&](int64_t i, int64_t m) {
    const V e = load(x + i, m);
    square = fma(e, e, square);
  });
  const V factor = splat(scale / std::sqrt(quick_sum(square) + 1e-6f));
  padded(round_up(n, kSub), n, [&](int64_t i, int64_t m) { store(out + i, load(x + i, m) * factor); });
}

// Lanes with bit H of a change places with those without it of b.
template <int H>
inline void exchange(V& a, V& b) {
  const VI high = (iota() & H) != 0;
  const V x = __builtin_shuffle(a, b, high ? iota() + (kN - H) : iota());
  b = __builtin_shuffle(a, b, high ? iota() + kN : iota() + H);
  a = x;
}
template <int H = kN / 2>
inline __attribute__((always_inline)) void transpose(V* r) {
  if constexpr (H > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < kN; i++)
      if (!(i & H)) exchange<H>(r[i], r[i + H]);
    transpose<H / 2>(r);
  }
}
// Lane i: the sum of r[i].
template <int H = kN / 2>
inline __attribute__((always_inline)) V sums(V* r) {
  if constexpr (H > 0) {
#pragma GCC unroll 8
    for (int i = 0; i < H; i++) {
      exchange<H>(r[i], r[i + H]);
      r[i] += r[i + H];
    }
    return sums<H / 2>(r);
  } else {
    return r[0];
  }
}

// to[c][r] = from[r][c] for multiples of 16.
inline void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to,
                      int64_t to_stride) {
  for (int64_t c = 0; c < cols; c += kN)
    for (int64_t r = 0; r < rows; r += kN) {
      V v[kN];
#pragma GCC unroll 16
      for (int i = 0; i < kN; i++) v[i] = load(from + (r + i) * from_stride + c);
      transpose<>(v);
#pragma GCC unroll 16
      for (int i = 0; i < kN; i++) store(to + (c + i) * to_stride + r, v[i]);
    }
}

constexpr int kTileRows = kN == 16 ? 8 : 4, kTileVecs = 2;

// One tile of product().
template <int P>
inline __attribute__((always_inline)) void product_tile(int64_t n, const float* a, int64_t sa, const float* b,
                                                        int64_t sb, const float* scale, float* c, int64_t sc) {
  V acc[kTileRows][P];
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; r++)
#pragma GCC unroll 2
    for (int p = 0; p < P; p++) acc[r][p] = scale ? load(c + r * sc + p * kN) * scale[r] : V{};
  for (int64_t i = 0; i < n; i++, a += sa, b += sb) {
    V y[P];
#pragma GCC unroll 2
    for (int p = 0; p < P; p++) y[p] = load(b + p * kN);
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; r++) {
      const V x = splat(a[r]);
#pragma GCC unroll 2
      for (int p = 0; p < P; p++) acc[r][p] = fma(x, y[p], acc[r][p]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; r++)
#pragma GCC unroll 2
    for (int p = 0; p < P; p++) store(c + r * sc + p * kN, acc[r][p]);
}

// C = scale * C + A^T B, or A^T B where scale is null. A: [n][rows], B: [n][cols], C: [rows][cols], scale: [rows]; rows
// and cols are multiples of 16. Sums run in rising order of n.
inline void product(int64_t rows, int64_t cols, int64_t n, const float* a, int64_t sa, const float* b, int64_t sb,
                    const float* scale, float* c, int64_t sc) {
  int64_t i = 0;
  for (; i + kTileVecs * kN <= cols; i += kTileVecs * kN)
    for (int64_t r = 0; r < rows; r += kTileRows)
      product_tile<kTileVecs>(n, a + r, sa, b + i, sb, scale ? scale + r : nullptr, c + r * sc + i, sc);
  for (; i < cols; i += kN)
    for (int64_t r = 0; r < rows; r += kTileRows)
      product_tile<1>(n, a + r, sa, b + i, sb, scale ? scale + r : nullptr, c + r * sc + i, sc);
}
