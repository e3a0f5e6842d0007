// The OpenCL kernels of Attention, for ops that make a cache of their own.
#pragma once
#include <optional>

#include "device/opencl/opencl_device.h"
#include "ops/attention/attention.h"

namespace xylem {

struct AttentionForm {
  bool (*supports)(const Attention&, const Device&);  // looks at shapes and types alone
  // split: the keys of a query may be shared among work-groups. Not with a cache in OpenClDevice::scratch, which that
  // asks for.
  void (*run)(const Attention&, OpenClDevice&, bool split);
};
// Memory of parts of keys (attention_parts.clh) that bundles of `bundle` of them merge; none for one part.
struct AttentionParts {
  static constexpr int64_t kHeads = 8;  // HEADS
  static int64_t head_groups(const KvCache& c, int64_t heads) { return c.kv_heads * ((heads / c.kv_heads + kHeads - 1) / kHeads); }  // of at most kHeads heads of a kv head
  static int64_t floats(int64_t padded_dim) { return kHeads * (padded_dim + 2 * 2); }  // of a part
  float *o = nullptr, *largest = nullptr;
  int* counters = nullptr;
  int64_t unit_counters = 0;
  // Empty in a dry pass.
  static std::optional<AttentionParts> of(OpenClDevice& g, int64_t units, int64_t parts, int64_t padded_dim, int64_t bundle);
};
// What kernels of decode take: a query a row, or so many, over a bf16 cache.
bool takes_decode(const Attention& a, const Device& d);
int dims_bucket(const KvCache& c);  // DIMS
// Ends the program unless every tensor fits the others; q in place of a's.
void check_attention(const Attention& a, const Tensor& q);
extern const AttentionForm kAttentionVector, kAttentionMatrix, kAttentionMma;

}  // namespace xylem
