#include "ops/qkv_store/qkv_store.h"

#include "ops/check_shape.h"

namespace xylem {
namespace {

void check_cache(const KvCache& c, int64_t kv_heads, int64_t dim) {
  const int64_t p = pack_width(c.pool.dtype), end = c.offset + c.kv_heads * c.head_elements();
  CHECK(c.kv_heads == kv_heads && c.dim == dim, c.kv_heads, kv_heads, c.dim, dim);
  CHECK(c.block_tokens > 0 && c.block_tokens % KvCache::kLane == 0, c.block_tokens);
  CHECK(c.pool.dtype == DType::kBF16 || c.pool.dtype == DType::kF32, dtype_name(c.pool.dtype));
  check_output("pool", c.pool, {c.pool.dim[0], c.pool.dim[1]}, c.pool.dtype);
  CHECK(c.offset >= 0 && end <= c.pool.dim[1] && c.offset % p == 0 && c.pool.stride[0] % p == 0, c.offset, end, c.pool.dim[1], c.pool.stride[0]);
}

void check_norm(const char* name, const QkvStore::HeadNorm& norm, int64_t dim) {
  CHECK(norm.on || !norm.w, name);
  if (norm.w) check_contiguous(name, norm.w, {dim});
}

}  // namespace

void check(const QkvStore& a) {
  const int64_t T = a.tokens(), dim = a.dim();
  CHECK((a.q || a.k) && bool(a.q) == bool(a.y) && bool(a.k) == bool(a.v) && bool(a.k) == bool(a.slots) && bool(a.k) == bool(a.cache.pool), bool(a.q), bool(a.y), bool(a.k), bool(a.v),
        bool(a.slots), bool(a.cache.pool));
  if (a.q) {
    check_shape("q", a.q, {T, a.heads(), dim});
    check_output("y", a.y, {T, a.heads(), dim});
  }
  if (a.k) {
    check_shape("k", a.k, {T, a.kv_heads(), dim});
    check_shape("v", a.v, {T, a.kv_heads(), dim});
    check_contiguous("slots", a.slots, {T}, DType::kI32);
    check_cache(a.cache, a.kv_heads(), dim);
  }
  check_norm("q_norm", a.q_norm, dim);
  check_norm("k_norm", a.k_norm, dim);
  check_norm("v_norm", a.v_norm, dim);
  if (a.table) check_contiguous("table", a.table, {T, 2, a.pairs()});
  CHECK(2 * a.pairs() <= dim, a.pairs(), dim);
}

}  // namespace xylem
