// Body of the BlendRows kernels (see ops/vec_math.h).

// Elements [at, at + c) of a row as floats; zeros beyond.
template <DType kType>
inline V numbers(const std::byte* row, int64_t at, int64_t c) {
  if constexpr (kType == DType::kF32) return load(reinterpret_cast<const float*>(row) + at, c);
  VH h{};
  std::memcpy(&h, row + 2 * at, size_t(2 * c));
  if constexpr (kType == DType::kBF16) return bits_f(__builtin_convertvector(h, VU) << 16);
#if XYLEM_VEC_LANES == 16
  return _mm512_maskz_cvtph_ps(0xffff, (__m256i)h);
#elif XYLEM_VEC_LANES == 8
  return _mm256_cvtph_ps((__m128i)h);
#else
  V v;
  for (int i = 0; i < kN; i++) v[i] = f16_to_f32(h[i]);
  return v;
#endif
}

template <DType kType>
inline void blend_rows(const BlendRows& a, int64_t begin, int64_t end) {
  const int64_t K = a.ids.cols(), N = a.table.dim[0], row_bytes = a.table.stride[0] * int64_t(dtype_bytes(kType));
  const auto* table = a.table.as<std::byte>();
  for (int64_t t = begin; t < end; t++) {
    const float *x = a.x.row(t), *weights = a.weights.as() + t * K;
    const auto* ids = a.ids.as<int32_t>() + t * K;
    for (int64_t j = 0; j < K; j++) CHECK(ids[j] >= 0 && ids[j] < N, t, j, ids[j], N);
    float* y = a.y.row(t);
    map(a.x.cols(), [&](int64_t i, int64_t c) {
      V v = load(x + i, c);
      for (int64_t j = 0; j < K; j++) v = fma(splat(weights[j]), numbers<kType>(table + ids[j] * row_bytes, i, c), v);
      store(y + i, v, c);
    });
  }
}

inline void run(const BlendRows& a, Device& d) {
  check(a);
  auto* blend = a.table.dtype == DType::kF32    ? blend_rows<DType::kF32>
                : a.table.dtype == DType::kBF16 ? blend_rows<DType::kBF16>
                                                : blend_rows<DType::kF16>;
  parallel_rows(d, a.x.dim[0], a.x.numel() * a.ids.cols(), [&](int64_t begin, int64_t end) { blend(a, begin, end); });
}
