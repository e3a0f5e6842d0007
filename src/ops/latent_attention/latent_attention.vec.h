// Body of the LatentAttention kernels (see ops/vec_math.h; how a call is cut: latent_items.h): what both forms share.

inline const Micro& micro_of(DType w) {
#if XYLEM_VEC_LANES == 16
  return table_micro(avx512_micros(), w, false);
#elif XYLEM_VEC_LANES == 8
  return table_micro(avx2_micros(), w, false);
#else
  return table_micro(portable_micros(), w, false);
#endif
}

inline V widen(const float* p) { return load(p); }
inline V widen(const uint16_t* p) {
#if XYLEM_VEC_LANES == 16
  return bits_f((VU)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p))) << 16);
#elif XYLEM_VEC_LANES == 8
  return bits_f((VU)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i_u*>(p))) << 16);
#else
  return bits_f(__builtin_convertvector(*reinterpret_cast<const VHUnaligned*>(p), VU) << 16);
#endif
}
// n numbers, and zeros up to a whole vector.
template <class E>
inline void widen_row(const E* p, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kN <= n; i += kN) store(out + i, widen(p + i));
  if (i == n) return;
  E rest[kN] = {};
  std::memcpy(rest, p + i, size_t(n - i) * sizeof(E));
  store(out + i, widen(rest));
}

// Softmax of some rows so far: values against a maximum, and the sum of the weights.
struct Running {
  float *value, *max, *sum;
  void clear(int64_t rows, int64_t values) const {
    std::memset(value, 0, size_t(values) * sizeof(float));
    std::fill_n(max, round_up(rows, kN), -INFINITY), std::fill_n(sum, round_up(rows, kN), 0.0f);
  }
};
// What values so far and new values are multiplied with to be of one maximum.
struct Factors {
  float *before, *added;
};

// s = exp(scale * s - max) for the first `seen` keys, 0 for the others up to a whole vector after `end`.
inline void softmax_row(float* s, int64_t seen, int64_t end, float scale, float* max_out, float* sum_out) {
  V largest = splat(-INFINITY);
  for (int64_t i = 0; i < end; i += kN) {
    V x = load(s + i) * scale;
    if (i + kN > seen) x = select(iota() + int32_t(i) < splat_i(int32_t(seen)), x, splat(-INFINITY));
    store(s + i, x);
    largest = max(x, largest);
  }
  const float m = max(largest), base = m == -INFINITY ? 0.0f : m;
  V total{};
  for (int64_t i = 0; i < end; i += kN) {
    const V e = exp(load(s + i) - base);
    total += e;
    store(s + i, e);
  }
  *max_out = m, *sum_out = sum(total);
}

// Merges maxima and sums (of whole vectors of rows) into those so far.
inline void merge_factors(const float* added_max, const float* added_sum, int64_t rows, const Running& to, const Factors& f) {
  for (int64_t i = 0; i < rows; i += kN) {
    const V before = load(to.max + i), added = load(added_max + i), both = max(before, added);
    const V base = select(both == splat(-INFINITY), V{}, both);
    const V x = exp(before - base), y = exp(added - base);
    store(to.max + i, both), store(f.before + i, x), store(f.added + i, y);
    store(to.sum + i, fma(load(added_sum + i), y, load(to.sum + i) * x));
  }
}
inline void merge_values(const float* added, int64_t n, float before_factor, float added_factor, float* to) {
  for (int64_t i = 0; i < n; i += kN) store(to + i, fma(load(added + i), splat(added_factor), load(to + i) * before_factor));
}
inline void divide(const float* x, float by, int64_t n, float* y) {
  map(n, [&](int64_t i, int64_t m) { store(y + i, load(x + i, m) / by, m); });
}

#include "ops/latent_attention/latent_absorbed.vec.h"
#include "ops/latent_attention/latent_plain.vec.h"

template <class E>
inline void run_as(const LatentAttention& a, Device& d) {
  const LatentDims n(a);
  const LatentForms forms = choose_forms(a, n);
  for (size_t i = 0; i < forms.absorbed.size(); i += kPassTokens)
    Absorbed<E>(a, n, {forms.absorbed.begin() + i, forms.absorbed.begin() + std::min(i + kPassTokens, forms.absorbed.size())}).run(cpu(d));
  if (!forms.plain.empty()) Plain<E>(a, n, forms.plain).run(cpu(d));
}

inline void run(const LatentAttention& a, Device& d) {
  const DType t = a.cache.pool.dtype;
  CHECK(t == DType::kBF16 || t == DType::kF32, dtype_name(t));
  for (const Tensor* w : {&a.w_uk, &a.w_uk_t, &a.w_uv}) CHECK(!is_quantised(w->dtype), dtype_name(w->dtype));
  if (t == DType::kBF16) run_as<uint16_t>(a, d);
  else run_as<float>(a, d);
}
