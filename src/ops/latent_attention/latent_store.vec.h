// Body of the LatentStore kernels (see ops/vec_math.h).

inline void store_part(const float* x, int64_t n, uint16_t* out) {
  map(n, [&](int64_t i, int64_t m) {
    if (m == kN) return store_bf16(out + i, load(x + i));
    uint16_t rest[kN];
    store_bf16(rest, load(x + i, m));
    std::memcpy(out + i, rest, size_t(m) * sizeof *out);
  });
}
inline void store_part(const float* x, int64_t n, float* out) { std::memcpy(out, x, size_t(n) * sizeof *out); }

template <class E>
inline void store_token(const LatentStore& a, int64_t t) {
  const LatentCache& c = a.cache;
  const int64_t slot = a.slots.as<int32_t>()[t];
  if (slot < 0) return;
  E* out = c.pool.as<E>() + c.index(slot / c.block_tokens, slot % c.block_tokens);
  store_part(a.latent.row(t), c.rank, out);
  store_part(a.k_rope.row(t), c.rope_dim, out + c.rank);
}

inline void run(const LatentStore& a, Device& d) {
  const int64_t T = a.slots.numel();
  const bool bf16 = a.cache.pool.dtype == DType::kBF16;
  CHECK(bf16 || a.cache.pool.dtype == DType::kF32, dtype_name(a.cache.pool.dtype));
  parallel_rows(d, T, T * a.cache.width(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) bf16 ? store_token<uint16_t>(a, t) : store_token<float>(a, t);
  });
}
