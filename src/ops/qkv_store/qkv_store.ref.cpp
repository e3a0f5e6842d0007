#include <cmath>

#include "ops/qkv_store/qkv_store.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/run_reference.h"
namespace xylem {
namespace {

void store(const Tensor& k, const Tensor& v, const QkvStore& a) {
  const KvCache& c = a.cache;
  const int64_t T = a.slots.numel();
  const int32_t* slots = a.slots.as<int32_t>();
  for (int64_t t = 0; t < T; t++) {
    if (slots[t] < 0) continue;
    const int64_t block = slots[t] / c.block_tokens, token = slots[t] % c.block_tokens;
    const bool clear_next = token % 2 == 0 && !(t + 1 < T && slots[t + 1] == slots[t] + 1);
    for (int h = 0; h < c.kv_heads; h++)
      for (int64_t d = 0; d < c.padded_dim(); d++) {
        const bool real = d < c.dim;
        store_f32(c.pool.data, c.k_index(block, h, token, d), c.pool.dtype, real ? k.as()[t * k.stride[0] + h * k.stride[1] + d] : 0.0f);
        store_f32(c.pool.data, c.v_index(block, h, token, d), c.pool.dtype, real ? v.as()[t * v.stride[0] + h * v.stride[1] + d] : 0.0f);
        if (clear_next) store_f32(c.pool.data, c.v_index(block, h, token + 1, d), c.pool.dtype, 0.0f);
      }
  }
}

// Heads as they leave the op, in memory of their own.
struct Heads {
  std::vector<float> values;
  Tensor y;
  Heads(const QkvStore& a, const Tensor& x, const QkvStore::HeadNorm& norm, bool rotate) : values(size_t(x.numel())) {
    y = make_tensor(values.data(), DType::kF32, {x.dim[0], x.dim[1], x.dim[2]});
    if (norm.on) run_reference(RmsNorm{x, norm.w, y, a.eps, a.w_offset});
    else
      for (int64_t r = 0; r < x.rows(); r++) std::copy_n(x.row(r), x.cols(), y.row(r));
    if (rotate && a.table) run_reference(Rope{y, a.table, y, a.interleaved});
  }
};

void reference(const QkvStore& a) {
  if (a.k) store(Heads(a, a.k, a.k_norm, true).y, Heads(a, a.v, a.v_norm, false).y, a);
  if (!a.q) return;
  const Heads q(a, a.q, a.q_norm, true);
  for (int64_t r = 0; r < q.y.rows(); r++) std::copy_n(q.y.row(r), q.y.cols(), a.y.row(r));
}

// As models call it. norms: 'w' with weights, 'p' plain, '-' none, of q, k and v.
struct Call { const char* label; int heads, kv_heads, dim, pairs; const char* norms; bool interleaved; float w_offset; };

// Slots of T tokens in a pool of two blocks and more: pairs and halves of them, and tokens that are not stored. Of many tokens 37
// begin with the second half of a pair; others with one token each of some sequences.
void set_slots(QkvStore& a) {
  if (!a.slots) return;
  const int n = a.cache.block_tokens;
  const int32_t few[6] = {3 * n + 14, 3 * n + 15, -1, n, n + 1, 2 * n + 2}, alone[4] = {0, 3, 6, 8};
  const int64_t T = a.slots.numel();
  for (int64_t t = 0; t < T; t++) a.slots.as<int32_t>()[t] = T <= 6 ? few[(t + T) % 6] : T > 37 && t < 4 ? alone[t] : t == 5 ? -1 : int32_t(n + (T > 37 ? 4 : 5) + t);
}

QkvStore make(const Call& c, int64_t T, DType type, int block_tokens) {
  const int64_t columns = (c.heads + 2 * c.kv_heads) * c.dim + 8;
  const auto heads = [&](int n) {
    Tensor t = n ? shape({T, n, c.dim}) : Tensor{};
    t.stride[0] = n ? columns : 0;
    return t;
  };
  const auto norm = [&](char kind) { return QkvStore::HeadNorm{kind != '-', kind == 'w' ? shape({c.dim}) : Tensor{}}; };
  QkvStore a{heads(c.heads), heads(c.kv_heads), heads(c.kv_heads), norm(c.norms[0]), norm(c.norms[1]), norm(c.norms[2]), c.pairs ? shape({T, 2, c.pairs}) : Tensor{}, {}, {}, {}};
  if (c.heads) a.y = shape({T, c.heads, c.dim});
  if (c.kv_heads) {  // the second of two layers
    a.slots = shape({T}, DType::kI32);
    a.cache = {{}, 0, c.kv_heads, c.dim, block_tokens};
    a.cache.offset = c.kv_heads * a.cache.head_elements();
    a.cache.pool = shape({4 + T / block_tokens, 2 * a.cache.offset}, type);
  }
  a.w_offset = c.w_offset, a.interleaved = c.interleaved;
  return a;
}

CaseList<QkvStore> cases() {
  CaseList<QkvStore> list;
  const Call calls[] = {
      {"store alone", 0, 2, 64, 0, "---", false, 0},         {"store dim 8", 0, 2, 8, 0, "---", false, 0},
      {"rope", 6, 2, 24, 12, "---", false, 0},               {"norm and rope", 16, 8, 128, 64, "ww-", false, 0},
      {"norm, rope, plain v", 8, 1, 256, 128, "wwp", false, 0}, {"dim 512", 8, 1, 512, 256, "wwp", false, 0},
      {"partial rope", 4, 2, 256, 32, "ww-", false, 1},      {"q alone", 8, 0, 256, 128, "w--", false, 0},
      {"interleaved", 3, 3, 40, 10, "-w-", true, 0},         {"odd pairs", 5, 1, 72, 9, "pww", false, 0},
      {"interleaved quads", 3, 5, 40, 12, "ww-", true, 0},     {"quads alone", 5, 3, 24, 8, "pwp", true, 0},
      {"norms alone", 2, 2, 20, 0, "wpp", false, 1},         {"wide q alone", 1, 0, 136, 68, "w--", false, 0},
  };
  for (const Call& c : calls)
    for (DType type : {DType::kBF16, DType::kF32})
      for (int64_t T : {1, 2, 6, 37, c.dim > 64 ? 0 : 45})
        if (T > 0)
          list.push_back({std::string(c.label) + " " + dtype_name(type) + " of " + std::to_string(T), make(c, T, type, T > 6 ? 32 : 16), set_slots, type == DType::kBF16 ? 1e-7 : 0});
  return list;
}
const OpSpec<QkvStore> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<QkvStore, reference>();
}  // namespace
}  // namespace xylem
