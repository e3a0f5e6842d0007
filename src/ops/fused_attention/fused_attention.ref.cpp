#include <cmath>

#include "ops/fused_attention/fused_attention.h"
#include "ops/run_reference.h"
namespace xylem {
namespace {

void reference(const FusedAttention& f) {
  QkvStore s = f.store;
  Attention a = f.attention;
  std::vector<float> q(size_t(s.q.numel()));
  s.y = a.q = make_tensor(q.data(), DType::kF32, {s.q.dim[0], s.q.dim[1], s.q.dim[2]});
  if (s.k) s.cache = a.cache;
  run_reference(s);
  run_reference(a);
}

// norms: 'w' with weights, 'p' plain, '-' none, of q, k and v. The rows of `lost` are not stored.
struct Call {
  const char* label;
  int heads, kv_heads, dim, block, window;
  std::vector<int> length;
  int pairs;
  const char* norms;
  bool stores = true, v_is_k = false, sinks = false, interleaved = false;
  float w_offset = 0;
  int lost = -1;
};

// The newest key's place and what follows it hold NaN, V of the key after an odd one zero; what is not stored is there already.
void fill(const Call& c, FusedAttention& f) {
  Attention& a = f.attention;
  const KvCache& cache = a.cache;
  int32_t next = int32_t(cache.pool.dim[0]);
  for (size_t b = 0; b < c.length.size(); b++) {
    const int len = c.length[b], newest = len - 1;
    const bool stored = c.stores && int(b) != c.lost;
    a.cu_q.as<int32_t>()[b] = int32_t(b), a.kv_len.as<int32_t>()[b] = len;
    int32_t* table = a.table.as<int32_t>() + int64_t(b) * a.table.dim[1];
    for (int64_t i = 0; i < a.table.dim[1]; i++) table[i] = i * c.block < len && (c.window == 0 || (i + 1) * c.block > len - c.window) ? --next : -1;
    const int32_t last = table[newest / c.block];
    if (c.stores) f.store.slots.as<int32_t>()[b] = stored ? last * c.block + newest % c.block : -1;
    for (int t = (stored ? newest : len) % c.block; t < c.block && (stored || len % c.block); t++)
      for (int h = 0; h < c.kv_heads; h++)
        for (int64_t d = 0; d < c.dim; d++) {
          const bool pair = t == len % c.block && t % 2 == 1 && !stored;
          store_f32(cache.pool.data, cache.k_index(last, h, t, d), cache.pool.dtype, NAN);
          store_f32(cache.pool.data, cache.v_index(last, h, t, d), cache.pool.dtype, pair ? 0.0f : NAN);
        }
  }
  a.cu_q.as<int32_t>()[c.length.size()] = int32_t(c.length.size());
  for (int64_t block = 0; block < cache.pool.dim[0]; block++)
    for (int h = 0; h < c.kv_heads; h++)
      for (int64_t d = c.dim; d < cache.padded_dim(); d++)
        for (int t = 0; t < c.block; t++) {
          store_f32(cache.pool.data, cache.k_index(block, h, t, d), cache.pool.dtype, 0);
          store_f32(cache.pool.data, cache.v_index(block, h, t, d), cache.pool.dtype, 0);
        }
  if (c.v_is_k) f.store.v = f.store.k;
}

FusedAttention make(const Call& c) {
  const auto B = int64_t(c.length.size());
  const auto heads = [&](int n) {
    Tensor t = shape({B, n, c.dim});
    t.stride[0] = (c.heads + 2 * c.kv_heads) * c.dim + 8;
    return t;
  };
  const auto norm = [&](char kind) { return QkvStore::HeadNorm{kind != '-', kind == 'w' ? shape({c.dim}) : Tensor{}}; };
  int64_t blocks = 1, most = 0;
  for (int n : c.length) blocks += (n + c.block - 1) / c.block, most = std::max<int64_t>(most, (n + c.block - 1) / c.block);
  FusedAttention f;
  f.store.q = heads(c.heads), f.store.q_norm = norm(c.norms[0]);
  if (c.stores) f.store.k = heads(c.kv_heads), f.store.v = heads(c.kv_heads), f.store.k_norm = norm(c.norms[1]), f.store.v_norm = norm(c.norms[2]), f.store.slots = shape({B}, DType::kI32);
  if (c.pairs) f.store.table = shape({B, 2, c.pairs});
  f.store.interleaved = c.interleaved, f.store.w_offset = c.w_offset;
  KvCache cache{{}, 0, c.kv_heads, c.dim, c.block};  // the second of two layers
  cache.offset = c.kv_heads * cache.head_elements();
  cache.pool = shape({blocks, 2 * cache.offset}, DType::kBF16);
  f.attention = {{}, cache, shape({B, most}, DType::kI32), shape({B + 1}, DType::kI32), shape({B}, DType::kI32), shape({B, c.heads, c.dim}), 1.0f / std::sqrt(float(c.dim)), c.window};
  f.attention.q = shape({B, c.heads, c.dim});
  if (c.sinks) f.attention.sinks = shape({c.heads});
  return f;
}

CaseList<FusedAttention> cases() {
  const std::vector<Call> calls = {
      {"first token", 2, 1, 8, 16, 0, {1}, 4, "---"},
      {"three rows", 2, 2, 32, 16, 0, {5, 16, 77}, 16, "ww-"},
      {"dim 64", 2, 1, 64, 16, 0, {33}, 32, "w-w"},
      {"parts", 4, 2, 24, 16, 0, {300, 20}, 12, "www", true, false, true},
      {"group of 16, dim 24", 16, 1, 24, 16, 0, {33, 18}, 12, "pp-"},
      {"cache of another layer, dim 24", 4, 1, 24, 16, 30, {47, 20}, 6, "w--", false},
      {"pairs of 256", 8, 1, 256, 64, 512, {96, 65}, 128, "wwp"},
      {"window of 512", 8, 1, 256, 64, 512, {530}, 128, "wwp"},
      {"dim 512", 8, 1, 512, 64, 0, {130, 33}, 256, "wwp"},
      {"v is k", 8, 1, 512, 16, 0, {40}, 32, "wwp", true, true},
      {"cache of another layer", 8, 1, 256, 64, 64, {97, 64}, 128, "w--", false},
      {"cache of another layer, dim 512", 4, 1, 512, 32, 0, {71}, 256, "w--", false},
      {"group of 16", 16, 1, 128, 32, 0, {300, 129}, 64, "ww-", true, false, true},
      {"many heads", 20, 1, 96, 128, 0, {700, 3, 128}, 20, "ppp"},
      {"interleaved", 5, 5, 72, 48, 0, {33, 90}, 10, "-w-", true, false, false, true},
      {"interleaved offset", 6, 3, 40, 16, 20, {33, 90}, 20, "ww-", true, false, true, true, 1},
      {"partial rope", 8, 2, 256, 16, 0, {70, 31, 64}, 32, "ww-", true, false, false, false, 1},
      {"not stored", 4, 2, 32, 16, 0, {40, 57, 18}, 16, "ww-", true, false, false, false, 0, 1},
      {"long", 8, 1, 64, 64, 0, {1500}, 32, "wwp"},
      {"long, no rope", 4, 2, 128, 32, 500, {900, 301}, 0, "-p-", true, false, true},
      {"odd ratio", 15, 3, 128, 32, 0, {256, 90}, 64, "ww-"},
  };
  CaseList<FusedAttention> list;
  for (const Call& c : calls) list.push_back({c.label, make(c), [c](FusedAttention& f) { fill(c, f); }, 3e-5});
  return list;
}
const OpSpec<FusedAttention> spec(reference, cases, 3e-5);
const auto* const ref = register_reference<FusedAttention, reference>();

}  // namespace
}  // namespace xylem
