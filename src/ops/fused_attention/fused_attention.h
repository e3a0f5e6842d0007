#pragma once
#include "ops/attention/attention.h"
#include "ops/qkv_store/qkv_store.h"
namespace xylem {
// QkvStore followed by Attention of what it makes, for decode: row i of the step is query i, and a slot that is not negative is where the
// last key of its row belongs. Without k and v the cache has it already. In a joined launch (phase.clh) the cache, the weights and what says
// where keys are must be older than the call before this one: they are read while that one ends.
struct FusedAttention {
  static constexpr const char* kName = "fused_attention";
  QkvStore store;       // with q; y is not written, and the cache is attention's
  Attention attention;  // without limits; q is store.y and not read
  XYLEM_FIELDS(in(store.q), in(store.k), in(store.v), in(store.q_norm.w), in(store.k_norm.w), in(store.v_norm.w), in(store.table), in(store.slots), in(attention.table),
               in(attention.cu_q), in(attention.kv_len), in(attention.sinks), inout(attention.cache.pool), out(attention.y))
};
}  // namespace xylem
