// Embedding rows. A row of a packed table lies 64 bytes apart, pair by pair.
#include "ops/gather/gather.h"

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

template <DType kType>
float number(const void* p) {
  if constexpr (kType == DType::kF32) return *static_cast<const float*>(p);
  const uint16_t h = *static_cast<const uint16_t*>(p);
  return kType == DType::kBF16 ? bf16_to_f32(h) : f16_to_f32(h);
}

template <DType kType>
void copy_row(const Gather& a, int64_t id, float* y) {
  const int64_t K = a.table.cols();
  constexpr int64_t kPair = pack_width(kType);
  using Element = std::conditional_t<kType == DType::kF32, float, uint16_t>;
  const auto* table = a.table.as<Element>();
  if (id < 0 || id >= a.table.dim[0]) {
    std::fill_n(y, K, 0.0f);
  } else if (a.table.layout == Layout::kStrided) {
    const Element* row = table + id * a.table.stride[0];
    for (int64_t k = 0; k < K; k++) y[k] = number<kType>(row + k) * a.scale;
  } else {
    const Element* row = table + packed_index(id, 0, K, kType);
    for (int64_t k = 0; k < K; k++) y[k] = number<kType>(row + k / kPair * kPanel * kPair + k % kPair) * a.scale;
  }
}

int32_t meant(const Gather& a, int32_t id) {
  bool alias = false;
  for (int32_t other : a.aliases) alias |= other == id;
  return alias && id >= 0 ? a.alias_of : id;
}

void run(const Gather& a, Device& d) {
  check(a);
  const int64_t T = a.ids.numel(), K = a.table.cols();
  auto* copy = a.table.dtype == DType::kF32    ? copy_row<DType::kF32>
               : a.table.dtype == DType::kBF16 ? copy_row<DType::kBF16>
                                               : copy_row<DType::kF16>;
  parallel_rows(d, T, T * K, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) copy(a, meant(a, a.ids.as<int32_t>()[t]), a.y.row(t));
  });
}

const Kernel<Gather> kernel(Dev::kCpu, "portable", 10, nullptr, run);

}  // namespace
}  // namespace xylem
