#include "ops/attention/attention_gpu.h"
#include "ops/attention/attention_row_gpu.h"
#include "ops/fused_attention/fused_attention.h"

namespace xylem {
namespace {

void run(const FusedAttention& f, Device& d) {
  const QkvStore& s = f.store;
  CHECK(s.q && bool(s.k) == bool(s.v) && bool(s.k) == bool(s.slots), bool(s.q), bool(s.k), bool(s.v), bool(s.slots));
  CHECK(!s.k || (s.kv_heads() == f.attention.cache.kv_heads && s.k.cols() == s.dim() && s.slots.numel() == s.tokens()), s.kv_heads(), s.k.cols(), s.slots.numel());
  CHECK(2 * s.pairs() <= s.dim(), s.pairs(), s.dim());
  launch_attention_row(f.attention, &s, gpu(d));
}
bool fits(const FusedAttention& f, const Device& d) {
  Attention a = f.attention;
  a.q = f.store.q;
  return a.q.rank == 3 && takes_decode(a, d);
}
const Kernel<FusedAttention> k(Dev::kOpenCl, "row", 10, fits, run, "caches of bfloat16 and heads of at most 512 numbers, a query a row");

}  // namespace
}  // namespace xylem
