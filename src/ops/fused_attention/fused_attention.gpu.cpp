#include "ops/attention/attention_decode_gpu.h"
#include "ops/fused_attention/fused_attention.h"

namespace xylem {
namespace {

// What the kernel reads of both ops.
Attention attention_of(const FusedAttention& f) {
  Attention a = f.attention;
  a.q = f.store.q;
  return a;
}

// attention_decode.cl and attention_heads.clh
void run(const FusedAttention& f, Device& d) {
  const QkvStore& s = f.store;
  CHECK(s.q && bool(s.k) == bool(s.v) && bool(s.k) == bool(s.slots), bool(s.q), bool(s.k), bool(s.v), bool(s.slots));
  CHECK(!s.k || (s.kv_heads() == f.attention.cache.kv_heads && s.k.cols() == s.dim() && s.slots.numel() == s.tokens()), s.kv_heads(), s.k.cols(), s.slots.numel());
  CHECK(2 * s.pairs() <= s.dim(), s.pairs(), s.dim());
  launch_attention_decode(attention_of(f), gpu(d), " -DFUSED=1", s.k, s.v, s.q_norm.w, s.k_norm.w, s.v_norm.w, s.table, s.slots, Rows(s.k), Rows(s.v), int(bool(s.k)),
                          int(s.q_norm.on) | int(s.k_norm.on) << 1 | int(s.v_norm.on) << 2, int(bool(s.q_norm.w)) | int(bool(s.k_norm.w)) << 1 | int(bool(s.v_norm.w)) << 2,
                          int(s.pairs()), int(s.interleaved), s.eps, s.w_offset);
}
bool fits(const FusedAttention& f, const Device& d) { return f.store.q.rank == 3 && takes_attention_decode(attention_of(f), d); }
const Kernel<FusedAttention> k(Dev::kOpenCl, "decode", 10, fits, run, "caches of bfloat16 and heads of at most 512 numbers, a query a row");

}  // namespace
}  // namespace xylem
