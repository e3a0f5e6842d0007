// Puts FusedAttention in place of QkvStore and the Attention of what it makes, which nobody else reads (PagedAttention of nn/blocks.h).
#include "device/opencl/plan_rewrite.h"
#include "ops/fused_attention/fused_attention.h"

namespace xylem {
namespace {

bool same_cache(const KvCache& a, const KvCache& b) {
  return a.pool.data == b.pool.data && a.offset == b.offset && a.kv_heads == b.kv_heads && a.dim == b.dim && a.block_tokens == b.block_tokens;
}

const RegisterPlanRewrite rewrite([](Plan plan, OpenClDevice& d, std::vector<Buffer>&) {
  Plan out;
  for (size_t i = 0; i < plan.size(); i++) {
    const auto* store = call_of<QkvStore>(plan[i]);
    const auto* attention = i + 1 < plan.size() ? call_of<Attention>(plan[i + 1]) : nullptr;
    if (store && attention && store->q && store->y.data == attention->q.data && !attention->limits && (!store->k || same_cache(store->cache, attention->cache)) && !(i > 0 && touches(plan[i - 1], attention->cache.pool))) {
      const FusedAttention fused{*store, *attention};
      if (const auto* kernel = find_kernel(fused, d)) {
        out.push_back(bind(*kernel, fused)), i++;
        continue;
      }
    }
    out.push_back(plan[i]);
  }
  return out;
});

}  // namespace
}  // namespace xylem
