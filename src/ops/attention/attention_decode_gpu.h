// Launches attention_decode.cl, for Attention and for ops that it is the end of.
#pragma once
#include <optional>
#include <string>

#include "device/opencl/opencl_rows.h"
#include "ops/attention/attention.h"

namespace xylem {

// How a call is cut into work-groups, and their memory.
struct DecodeParts {
  static constexpr int kHeads = 8;  // HEADS
  int dims = 0;                     // DIMS
  int64_t head_groups = 0;          // of at most kHeads heads of a kv head
  int64_t units = 0;                // queries x head_groups
  int64_t parts = 1;                // of a unit's keys, at most
  int64_t unit_counters = 0;
  float *o = nullptr, *largest = nullptr;
  int* counters = nullptr;
};
// Empty: there is nothing to launch, or no memory in a dry pass.
std::optional<DecodeParts> attention_decode_parts(const Attention& a, OpenClDevice& g);
bool takes_attention_decode(const Attention& a, const Device& d);

// more: arguments after those of Attention.
template <class... More>
void launch_attention_decode(const Attention& a, OpenClDevice& g, const std::string& options, const More&... more) {
  const std::optional<DecodeParts> n = attention_decode_parts(a, g);
  if (!n) return;
  const KvCache& c = a.cache;
  const int64_t p = pack_width(c.pool.dtype), heads = a.q.dim[1];
  g.launch(g.kernel("attention_decode.cl", "attention_decode", "-DDIMS=" + std::to_string(n->dims) + " -DEXACT=" + std::to_string(c.dim == n->dims) + options),
           {{size_t(a.q.dim[0]), size_t(n->head_groups), size_t(n->parts)}, 256}, a.q, Rows(a.q), c.pool, c.offset / p, c.pool.stride[0] / p, c.head_elements() / p, a.table,
           a.table.stride[0], a.cu_q, a.kv_len, a.sinks, a.y, n->o, n->largest, static_cast<void*>(n->counters), int(bool(a.sinks)), c.block_tokens, int(a.kv_len.numel()), int(heads),
           int(heads / c.kv_heads), c.dim, int(c.padded_dim()), a.scale, a.window, int(n->parts), int(n->head_groups), int(n->unit_counters), int(n->units), more...);
}

}  // namespace xylem
