// The plain form, one query and one head at a time.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "device/op_spec.h"
#include "ops/latent_attention/latent_attention.h"
namespace xylem {
namespace {

void store_reference(const LatentStore& a) {
  const LatentCache& c = a.cache;
  for (int64_t t = 0; t < a.slots.numel(); t++) {
    const int32_t slot = a.slots.as<int32_t>()[t];
    if (slot < 0) continue;
    const int64_t at = c.index(slot / c.block_tokens, slot % c.block_tokens);
    for (int64_t i = 0; i < c.width(); i++)
      store_f32(c.pool.data, at + i, c.pool.dtype, i < c.rank ? a.latent.row(t)[i] : a.k_rope.row(t)[i - c.rank]);
  }
}

// w [n, rank] times the latent at `at`
std::vector<double> expand(const std::vector<double>& w, const LatentCache& c, int64_t at) {
  std::vector<double> y(w.size() / size_t(c.rank));
  for (int64_t i = 0; i < c.rank; i++) {
    const double latent = load_f32(c.pool.data, at + i, c.pool.dtype);
    for (size_t n = 0; n < y.size(); n++) y[n] += w[n * size_t(c.rank) + size_t(i)] * latent;
  }
  return y;
}

void reference(const LatentAttention& a) {
  const LatentCache& c = a.cache;
  const int64_t H = a.q.dim[1], nope = a.w_uk.dim[1], V = a.w_uv.dim[1];
  for (int64_t b = 0; b < a.kv_len.numel(); b++) {
    const int64_t q0 = a.cu_q.as<int32_t>()[b], q1 = a.cu_q.as<int32_t>()[b + 1], len = a.kv_len.as<int32_t>()[b];
    for (int64_t h = 0; h < H && q0 < q1; h++) {
      const std::vector<double> w_uk = unpacked(a.w_uk, h), w_uv = unpacked(a.w_uv, h);
      std::vector<std::vector<double>> key, value;
      for (int64_t j = 0; j < len; j++) {
        const int64_t at = c.index(a.table.as<int32_t>()[b * a.table.stride[0] + j / c.block_tokens], j % c.block_tokens);
        key.push_back(expand(w_uk, c, at)), value.push_back(expand(w_uv, c, at));
        for (int64_t i = 0; i < c.rope_dim; i++) key.back().push_back(load_f32(c.pool.data, at + c.rank + i, c.pool.dtype));
      }
      for (int64_t t = q0; t < q1; t++) {
        const int64_t seen = len - (q1 - t) + 1;
        const float* q = a.q.as() + t * a.q.stride[0] + h * a.q.stride[1];
        std::vector<double> s(static_cast<size_t>(seen)), o(static_cast<size_t>(V));
        double max = -INFINITY, sum = 0;
        for (int64_t j = 0; j < seen; j++) {
          for (int64_t i = 0; i < nope + c.rope_dim; i++) s[size_t(j)] += key[size_t(j)][size_t(i)] * q[i] * double(a.scale);
          max = std::max(max, s[size_t(j)]);
        }
        for (int64_t j = 0; j < seen; j++) {
          const double p = std::exp(s[size_t(j)] - max);
          sum += p;
          for (int64_t i = 0; i < V; i++) o[size_t(i)] += p * value[size_t(j)][size_t(i)];
        }
        for (int64_t i = 0; i < V; i++) a.y.as()[(t * H + h) * V + i] = float(o[size_t(i)] / sum);
      }
    }
  }
}

// A cache of two layers, of which the second is used; blocks are taken in no particular order.
LatentCache make_cache(DType t, int rank, int rope, int block_tokens, int64_t blocks) {
  LatentCache c{{}, int64_t(block_tokens) * (rank + rope), rank, rope, block_tokens};
  c.pool = shape({blocks, 2 * block_tokens * c.width()}, t);
  return c;
}

CaseList<LatentStore> store_cases() {
  CaseList<LatentStore> list;
  struct S { int rank, rope, block; };
  for (DType t : {DType::kBF16, DType::kF32})
    for (S s : {S{64, 16, 16}, S{512, 64, 64}, S{30, 6, 32}}) {
      Tensor latent = shape({5, s.rank}), k = shape({5, s.rope});
      k.stride[0] = s.rank + s.rope;
      list.push_back({std::string(dtype_name(t)) + " rank " + std::to_string(s.rank) + " block " + std::to_string(s.block),
                      {latent, k, shape({5}, DType::kI32), make_cache(t, s.rank, s.rope, s.block, 4)}, [](LatentStore& a) {
                        const int n = a.cache.block_tokens;
                        const int32_t slots[5] = {3 * n + 15, -1, n, n + 1, 2 * n + 2};
                        std::memcpy(a.slots.data, slots, sizeof slots);
                      }});
    }
  return list;
}

// The second copy of the up-projection is the transpose of the first.
void transpose_heads(const LatentAttention& a) {
  const DType t = a.w_uk.dtype;
  std::memset(a.w_uk_t.data, 0, a.w_uk_t.bytes());
  for (int64_t h = 0; h < a.w_uk.dim[0]; h++)
    for (int64_t n = 0; n < a.w_uk.dim[1]; n++)
      for (int64_t r = 0; r < a.w_uk.dim[2]; r++)
        store_f32(static_cast<std::byte*>(a.w_uk_t.data) + h * packed_bytes(a.w_uk.dim[2], a.w_uk.dim[1], t), packed_index(r, n, a.w_uk.dim[1], t), t, packed_value(a.w_uk, h, n, r));
}

CaseList<LatentAttention> cases() {
  CaseList<LatentAttention> list;
  struct S { const char* label; std::vector<int> count, len; int heads, rank, nope, rope, v, block; };
  const std::vector<S> shapes = {
      {"decode one", {1}, {1}, 4, 64, 32, 16, 32, 16},
      {"decode three", {1, 1, 1}, {5, 16, 77}, 4, 64, 32, 16, 32, 16},
      {"decode long", {1}, {1100}, 3, 128, 32, 16, 32, 64},
      {"decode, real sizes", {1, 1}, {40, 9}, 2, 512, 128, 64, 128, 128},
      {"odd sizes", {1, 6}, {33, 20}, 3, 40, 20, 6, 28, 32},
      {"prefill short", {7}, {7}, 4, 64, 32, 16, 32, 16},
      {"prefill", {150}, {150}, 2, 64, 32, 16, 48, 64},
      {"prefill chunk", {90}, {230}, 2, 64, 32, 16, 32, 32},
      {"many heads", {1, 2}, {20, 35}, 11, 64, 32, 16, 32, 16},
      {"many heads and tokens", {66, 1}, {80, 7}, 9, 64, 32, 16, 20, 32},
      {"mixed", {1, 40, 1, 3}, {64, 40, 129, 70}, 3, 64, 32, 16, 32, 32},
  };
  using enum LatentAttention::Form;
  for (DType cache : {DType::kF32, DType::kBF16})
    for (const S& s : shapes)
      for (LatentAttention::Form form : {kAuto, kPlain, kAbsorbed}) {
        int64_t T = 0, max_blocks = 1, blocks = 0;
        for (int n : s.count) T += n;
        for (int n : s.len) max_blocks = std::max<int64_t>(max_blocks, (n + s.block - 1) / s.block), blocks += (n + s.block - 1) / s.block;
        const int64_t B = int64_t(s.len.size());
        Tensor q = shape({T, s.heads, s.nope + s.rope});
        q.stride[0] += 32;
        const DType w = form == kAuto ? DType::kF32 : DType::kBF16;
        LatentAttention a{q, packed_shape({s.heads, s.nope, s.rank}, w), packed_shape({s.heads, s.rank, s.nope}, w), packed_shape({s.heads, s.v, s.rank}, w),
                          make_cache(cache, s.rank, s.rope, s.block, blocks + 1), shape({B, max_blocks}, DType::kI32), shape({B + 1}, DType::kI32),
                          shape({B}, DType::kI32), shape({T, s.heads, s.v}), 1.0f / std::sqrt(float(s.nope + s.rope)), form};
        list.push_back({std::string(dtype_name(cache)) + (form == kAuto ? " " : form == kPlain ? " plain " : " absorbed ") + s.label, a, [s](LatentAttention& op) {
                          int32_t next = int32_t(op.cache.pool.dim[0]), q0 = 0;
                          for (size_t b = 0; b < s.len.size(); b++) {
                            op.cu_q.as<int32_t>()[b] = q0, q0 += s.count[b];
                            op.kv_len.as<int32_t>()[b] = s.len[b];
                            int32_t* table = op.table.as<int32_t>() + int64_t(b) * op.table.dim[1];
                            std::fill_n(table, op.table.dim[1], -1);
                            for (int i = 0; i * s.block < s.len[b]; i++) table[i] = --next;
                            for (int64_t tok = (s.len[b] - 1) % s.block + 1; tok < s.block; tok++)  // whatever an earlier request left
                              for (int64_t i = 0; i < op.cache.width(); i++)
                                store_f32(op.cache.pool.data, op.cache.index(table[(s.len[b] - 1) / s.block], tok) + i, op.cache.pool.dtype, NAN);
                          }
                          op.cu_q.as<int32_t>()[s.len.size()] = q0;
                          transpose_heads(op);
                        }});
      }
  return list;
}

const OpSpec<LatentStore> store_spec(store_reference, store_cases, 1e-13);
const OpSpec<LatentAttention> spec(reference, cases, 1e-10);
const auto* const ref1 = register_reference<LatentStore, store_reference>();
const auto* const ref2 = register_reference<LatentAttention, reference>();

}  // namespace
}  // namespace xylem
