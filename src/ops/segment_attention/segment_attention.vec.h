// The softmax of the SegmentAttention kernels (see ops/vec_math.h).

// 2^x, error about 1 ulp, for x <= 0; about 2^-126 from there down. NaN stays.
inline V exp2_down(V x) {
  x = x < -126.0f ? splat(-126.0f) : x;
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

inline void softmax_row(const SoftmaxTile& t, int64_t r) {
  float* s = t.s + r * kBlockK;
  V largest = splat(-INFINITY);
  int64_t i = 0;
  for (; i + kN <= t.keys; i += kN) largest = max(load(s + i) * t.scale, largest);
  const VI rest = iota() < splat_i(int32_t(t.keys - i));
  if (i < t.keys) largest = max(select(rest, load(s + i) * t.scale, splat(-INFINITY)), largest);
  const float before = t.max[r], tile = max(largest), both = before > tile ? before : tile;
  const float base = both == -INFINITY ? 0.0f : both;
  V total{};
  for (i = 0; i + kN <= t.keys; i += kN) {
    const V e = exp2_down(fma(load(s + i), splat(t.scale), splat(-base)));
    store(s + i, e), total += e;
  }
  if (i < t.keys) {
    const V e = select(rest, exp2_down(fma(load(s + i), splat(t.scale), splat(-base))), V{});
    store(s + i, e), total += e;
  }
  t.max[r] = both;
  if (before == -INFINITY) {
    t.sum[r] = sum(total);
    return;
  }
  const float f = exp2_down(splat(before - base))[0];
  t.sum[r] = t.sum[r] * f + sum(total);
  if (f != 1.0f) {
    float* o = t.o + r * t.width;
    for (int64_t j = 0; j < t.width; j += kN) store(o + j, load(o + j) * f);
  }
}
inline void softmax(const SoftmaxTile& t) {
  for (int64_t r = 0; r < t.rows; r++) softmax_row(t, r);
}
inline void divide(const float* o, float by, float* y, int64_t n) {
  map(n, [&](int64_t i, int64_t c) { store(y + i, load(o + i, c) / by, c); });
}
