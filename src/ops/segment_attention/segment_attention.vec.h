// The softmax of the SegmentAttention kernels (see ops/vec_math.h).

// 2^x, error about 1 ulp, for x <= 0; about 2^-126 from there down. NaN stays.
inline V exp2_down(V x) {
  x = max(splat(-126.0f), x);
  const V shifted = x + 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const V f = x - (shifted - 12582912.0f);
  V p = splat(1.535336188319500e-4f);
  p = fma(p, f, splat(1.339887440266574e-3f));
  p = fma(p, f, splat(9.618437357674640e-3f));
  p = fma(p, f, splat(5.550332471162809e-2f));
  p = fma(p, f, splat(2.402264791363012e-1f));
  p = fma(p, f, splat(6.931472028550421e-1f));
  p = fma(p, f, splat(1.0f));
  return bits_f(bits_u(p) + (bits_u(shifted) << 23));
}
// In every lane what f makes of all of them.
template <class F>
inline V across(V v, F&& f) {
  for (int w = kN / 2; w > 0; w /= 2) v = f(v, __builtin_shuffle(v, iota() ^ splat_i(w)));
  return v;
}

// The maximum with this tile, and what is summed up so far brought to it.
inline void raise_max(const SoftmaxTile& t, int64_t r) {
  const float* s = t.s + r * kBlockK;
  const int64_t whole = t.keys / kN * kN;
  const V lowest = splat(-INFINITY);
  V largest = lowest;
  for (int64_t i = 0; i < whole; i += kN) largest = max(load(s + i) * t.scale, largest);
  if (const int64_t rest = t.keys - whole)
    largest = max(select(iota() < splat_i(int32_t(rest)), load(s + whole) * t.scale, lowest), largest);
  const V tile = across(largest, [&](V a, V b) { return max(a, b); });
  float *sums = t.sum + r * kPanel, *o = t.o + r * t.width;
  if (t.first) {
    t.max[r] = tile[0];
    for (int64_t i = 0; i < kPanel; i += kN) store(sums + i, V{});
    return;
  }
  const V before = splat(t.max[r]), both = max(before, tile);
  if (both[0] == before[0]) return;
  const V f = exp2_down(before - both);
  t.max[r] = both[0];
  store(sums, load(sums) * f);
  for (int64_t i = 0; i < t.width; i += kN) store(o + i, load(o + i) * f);
}
inline void exponentials(const SoftmaxTile& t, int64_t r) {
  float* s = t.s + r * kBlockK;
  const int64_t whole = t.keys / kN * kN;
  const V scale = splat(t.scale), max = splat(t.max[r]);
  V total = load(t.sum + r * kPanel);
  for (int64_t i = 0; i < whole; i += kN) {
    const V e = exp2_down(fma(load(s + i), scale, -max));
    store(s + i, e), total += e;
  }
  if (const int64_t rest = t.keys - whole) {
    const V e = select(iota() < splat_i(int32_t(rest)), exp2_down(fma(load(s + whole), scale, -max)), V{});
    store(s + whole, e), total += e;
  }
  store(t.sum + r * kPanel, total);
}
// Row after row of each: their chains of additions overlap.
inline void softmax(const SoftmaxTile& t) {
  for (int64_t r = 0; r < t.rows; r++) raise_max(t, r);
  for (int64_t r = 0; r < t.rows; r++) exponentials(t, r);
}
inline void divide(const float* o, const float* sums, float* y, int64_t n) {
  const V all = across(load(sums), [&](V a, V b) { return a + b; });
  map(n, [&](int64_t i, int64_t c) { store(y + i, load(o + i, c) / all, c); });
}
