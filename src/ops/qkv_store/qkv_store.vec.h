// Body of the QkvStore kernels (see ops/vec_math.h).
#include "ops/rms_norm/mean_square.vec.h"
#include "ops/rope/rotate.vec.h"

// One head: x normed, and rotated if cos is there, to y (may be x).
inline void finish_head(const QkvStore& a, const QkvStore::HeadNorm& norm, const float* x, const float* cos, float* y) {
  const int64_t n = a.dim(), R = a.pairs();
  if (norm.on) {
    const float inv = 1.0f / std::sqrt(mean_square(x, n) + a.eps), offset = a.w_offset;
    const float* w = norm.w.as();
    if (w) map(n, [&](int64_t i, int64_t c) { store(y + i, load(x + i, c) * inv * (load(w + i, c) + offset), c); });
    else map(n, [&](int64_t i, int64_t c) { store(y + i, load(x + i, c) * inv, c); });
  } else if (x != y) {
    std::memcpy(y, x, size_t(n) * sizeof(float));
  }
  if (cos) (a.interleaved ? rotate_pairs : rotate_halves)(y, cos, cos + R, y, R);
}

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

inline const float* head_at(const Tensor& x, int64_t t, int head) { return x.as() + t * x.stride[0] + head * x.stride[1]; }

// A pair of tokens that this call stores together belongs to the even one: threads never write to the same word.
inline void store_token(const QkvStore& a, int64_t t, int head, const float* cos) {
  alignas(64) float own[kMaxHeadDim], next[kMaxHeadDim];
  const KvCache& c = a.cache;
  const int32_t* slots = a.slots.as<int32_t>();
  const int64_t T = a.slots.numel(), slot = slots[t];
  if (slot < 0) return;
  const int64_t block = slot / c.block_tokens, token = slot % c.block_tokens;
  finish_head(a, a.k_norm, head_at(a.k, t, head), cos, own);
  if (c.pool.dtype == DType::kBF16) store_k<uint16_t>(c, own, block, head, token);
  else store_k<float>(c, own, block, head, token);
  const auto v = [&](int64_t i, float* buffer) {
    const float* x = head_at(a.v, i, head);
    if (!a.v_norm.on) return x;
    finish_head(a, a.v_norm, x, nullptr, buffer);
    return static_cast<const float*>(buffer);
  };
  if (token % 2 == 0) {
    const bool both = t + 1 < T && slots[t + 1] == slot + 1;
    store_v_pair(c, v(t, own), both ? v(t + 1, next) : nullptr, block, head, token);
  } else if (t == 0 || slots[t - 1] != slot - 1) {
    store_v_odd(c, v(t, own), block, head, token);
  }
}

inline void run(const QkvStore& a, Device& d) {
  check(a);
  CHECK(a.dim() <= kMaxHeadDim, a.dim());
  const int64_t T = a.tokens(), H = a.heads(), each = H + a.kv_heads();
  parallel_rows(d, T * each, 2 * T * (each + a.kv_heads()) * a.dim(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t t = i / each;
      const int h = int(i % each);
      const float* cos = a.table ? a.table.as() + t * 2 * a.pairs() : nullptr;
      if (h < H) finish_head(a, a.q_norm, head_at(a.q, t, h), cos, a.y.as() + t * a.y.stride[0] + h * a.y.stride[1]);
      else store_token(a, t, h - int(H), cos);
    }
  });
}
