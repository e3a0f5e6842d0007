// Body of the KvStore kernels (see ops/vec_math.h).

// K of one token: one 32-bit word for every pair of dimensions (bf16) or dimension (f32), a panel's width apart.
template <class E>
inline void store_k(const KvCache& c, const float* k, int64_t block, int head, int64_t token) {
  alignas(64) E row[kMaxHeadDim];
  const int64_t pd = c.padded_dim();
  for (int64_t i = 0; i < pd; i += kN) {
    const V x = i < c.dim ? load(k + i, std::min<int64_t>(kN, c.dim - i)) : V{};
    if constexpr (sizeof(E) == 2) store_bf16(row + i, x);
    else store(row + i, x);
  }
  E* out = c.pool.as<E>() + c.k_index(block, head, token, 0);
  constexpr int64_t kPair = 4 / sizeof(E);
  for (int64_t d = 0; d < pd / kPair; d++) std::memcpy(out + d * KvCache::kLane * kPair, row + d * kPair, 4);
}

// V of an even token and the one after it: zeros where there is none to store.
inline void store_v_pair(const KvCache& c, const float* v0, const float* v1, int64_t block, int head, int64_t token) {
  for (int64_t i = 0; i < c.padded_dim(); i += kN) {
    const int64_t n = std::min<int64_t>(kN, c.dim - i);
    const V x = n > 0 ? load(v0 + i, n) : V{}, y = n > 0 && v1 ? load(v1 + i, n) : V{};
    if (c.pool.dtype == DType::kBF16) {
      store_u(c.pool.as<uint16_t>() + c.v_index(block, head, token, i), bf16_bits(x) | bf16_bits(y) << 16);
    } else {
      store(c.pool.as() + c.v_index(block, head, token, i), x);
      store(c.pool.as() + c.v_index(block, head, token + 1, i), y);
    }
  }
}

// V of an odd token whose partner is in the cache already.
inline void store_v_odd(const KvCache& c, const float* v, int64_t block, int head, int64_t token) {
  for (int64_t i = 0; i < c.padded_dim(); i += kN) {
    const int64_t n = std::min<int64_t>(kN, c.dim - i);
    const V x = n > 0 ? load(v + i, n) : V{};
    if (c.pool.dtype == DType::kBF16) {
      uint16_t* out = c.pool.as<uint16_t>() + c.v_index(block, head, token - 1, i);
      store_u(out, (load_u(out) & 0xffffu) | bf16_bits(x) << 16);
    } else {
      store(c.pool.as() + c.v_index(block, head, token, i), x);
    }
  }
}

// A pair of tokens that this call stores together belongs to the even one: threads never write to the same word.
inline void store_token(const KvStore& a, int64_t t, int head) {
  const KvCache& c = a.cache;
  const int32_t* slots = a.slots.as<int32_t>();
  const int64_t T = a.slots.numel(), slot = slots[t];
  if (slot < 0) return;
  const int64_t block = slot / c.block_tokens, token = slot % c.block_tokens;
  auto row = [&](const Tensor& x, int64_t i) { return x.as() + i * x.stride[0] + head * x.stride[1]; };
  if (c.pool.dtype == DType::kBF16) store_k<uint16_t>(c, row(a.k, t), block, head, token);
  else store_k<float>(c, row(a.k, t), block, head, token);
  if (token % 2 == 0) {
    const bool both = t + 1 < T && slots[t + 1] == slot + 1;
    store_v_pair(c, row(a.v, t), both ? row(a.v, t + 1) : nullptr, block, head, token);
  } else if (t == 0 || slots[t - 1] != slot - 1) {
    store_v_odd(c, row(a.v, t), block, head, token);
  }
}

inline void run(const KvStore& a, Device& d) {
  const KvCache& c = a.cache;
  CHECK(c.padded_dim() <= kMaxHeadDim, c.dim);
  const int64_t T = a.slots.numel(), H = c.kv_heads;
  parallel_rows(d, T * H, 2 * T * H * c.dim, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) store_token(a, i / H, int(i % H));
  });
}
