#include <algorithm>
#include <cstdint>
#include <string>

#include "device/opencl/opencl_rows.h"
#include "ops/attention/attention_gpu.h"
#include "ops/attention/attention_row_gpu.h"

namespace xylem {
namespace {

constexpr int64_t kBundle = 16;              // BUNDLE
constexpr int64_t kItems = 512;              // WIDE_WG
constexpr int64_t kPartialBytes = int64_t(64) << 20;

}  // namespace

void launch_attention_row(const Attention& a, const QkvStore* store, OpenClDevice& g) {
  const Tensor& q = store ? store->q : a.q;
  check_attention(a, q);
  const int64_t rows = q.dim[0], heads = q.dim[1];
  if (rows == 0) return;
  const KvCache& c = a.cache;
  const int64_t group = heads / c.kv_heads, pd = c.padded_dim(), dims = dims_bucket(c), tile = 16384 / dims;  // DIMS, TILE
  const int64_t groups = AttentionParts::head_groups(c, heads), units = rows * groups, chunks = groups / c.kv_heads;
  int64_t keys = a.table.dim[1] * c.block_tokens;
  if (a.window > 0) keys = std::min<int64_t>(keys, a.window);
  // One work-group a compute unit, which has no room for a second one.
  const int64_t room = kPartialBytes / 4 / (units * AttentionParts::floats(pd)), slots = std::max(g.info().compute_units, 32);
  const int64_t parts = std::max<int64_t>(1, std::min({slots / units, (keys + tile - 1) / tile + 1, room}));
  const std::optional<AttentionParts> of = AttentionParts::of(g, units, parts, pd, kBundle);
  if (!of) return;
  const QkvStore none, &s = store ? *store : none;
  const int64_t p = pack_width(c.pool.dtype);
  // Kinds of heads whose norm has no weights read others'.
  const Tensor *norms[] = {&s.q_norm.w, &s.k_norm.w, &s.v_norm.w}, *any = norms[0];
  for (const Tensor* w : norms) any = *any ? any : w;
  for (const Tensor*& w : norms) w = *w ? w : any;
  std::string options;
  const auto set = [&](const char* name, int64_t v) { options += std::string(" -D") + name + "=" + std::to_string(v); };
  set("DIMS", dims), set("EXACT", c.dim == dims && reinterpret_cast<uintptr_t>(a.y.data) % 16 == 0), set("EARLY", store != nullptr), set("WEIGHTED", bool(*any)), set("TURNED", s.pairs() > 0);
  if (g.info().phase_groups > 0) {
    const auto aligned = [](const Tensor& t) {
      bool yes = reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
      for (int i = 0; i + 1 < t.rank; i++) yes &= t.stride[i] % 4 == 0;
      return yes;
    };
    bool quads = c.dim == dims && !s.interleaved && s.pairs() % 4 == 0;
    for (const Tensor* t : {&q, &s.k, &s.v, norms[0], norms[1], norms[2], &s.table}) quads &= aligned(*t);
    set("PAIRS", s.pairs()), set("INTERLEAVED", s.interleaved), set("QUADS", quads);
  }
  g.launch(g.kernel("attention_row.cl", "attention_row", options.substr(1)),
           {{size_t(rows), size_t(groups), size_t(parts)}, size_t(kItems)}, q, Rows(q), c.pool, c.offset / p, c.pool.stride[0] / p, c.head_elements() / p, a.table, a.table.stride[0],
           a.cu_q, a.kv_len, a.sinks, a.y, of->o, of->largest, static_cast<void*>(of->counters), int(bool(a.sinks)), c.block_tokens, int(rows), int(heads), int(group), c.dim, int(pd), a.scale, a.window, int(parts),
           int(groups), int(of->unit_counters), int(units), int(rows), int(chunks),
           c.block_tokens / 16, 1.0f / float(rows), 1.0f / float(groups), 1.0f / float(chunks), 16.0f / float(c.block_tokens), 1.0f / float(parts), s.k, s.v, *norms[0], *norms[1], *norms[2], s.table, s.slots, Rows(s.k), Rows(s.v), int(bool(s.k)),
           int(s.q_norm.on) | int(s.k_norm.on) << 1 | int(s.v_norm.on) << 2, int(bool(s.q_norm.w)) | int(bool(s.k_norm.w)) << 1 | int(bool(s.v_norm.w)) << 2, int(s.pairs()),
           int(s.interleaved), s.eps, s.w_offset);
}

namespace {
// With more work-groups of units attention_decode.cl, two of whose work-groups share a compute unit, keeps more of the memory busy.
bool few_units(const Attention& a, const Device& d) { return takes_decode(a, d) && a.q.dim[0] * AttentionParts::head_groups(a.cache, a.q.dim[1]) <= 16; }
const Kernel<Attention> k(Dev::kOpenCl, "row", 16, few_units, [](const Attention& a, Device& d) { launch_attention_row(a, nullptr, gpu(d)); });
}  // namespace

}  // namespace xylem
