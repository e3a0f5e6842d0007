#include "device/op_spec.h"
#include "ops/gather/gather.h"
namespace xylem {
namespace {
void reference(const Gather& a) {
  const int64_t K = a.table.cols(), N = a.table.dim[0];
  for (int64_t t = 0; t < a.ids.numel(); t++)
    for (int64_t k = 0; k < K; k++) {
      const int64_t id = a.ids.as<int32_t>()[t];
      float v = 0;
      if (id >= 0 && id < N) {
        const int64_t at = a.table.layout == Layout::kPacked ? packed_index(id, k, K, a.table.dtype) : id * a.table.stride[0] + k;
        v = load_f32(a.table.data, at, a.table.dtype);
      }
      a.y.row(t)[k] = float(double(v) * double(a.scale));
    }
}
CaseList<Gather> cases() {
  CaseList<Gather> list;
  for (DType t : {DType::kF32, DType::kBF16, DType::kF16})
    for (bool packed : {false, true})
      for (int64_t K : {1, 63, 64, 1536}) {
        Gather a{packed ? packed_shape({50, K}, t) : shape({50, K}, t), shape({7}, DType::kI32), shape({7, K}), 1.5f};
        list.push_back({std::string(dtype_name(t)) + (packed ? " packed " : " rows ") + std::to_string(K), a, [](Gather& g) {
                          const int32_t ids[7] = {0, 49, 3, -1, 50, 17, 17};
                          std::memcpy(g.ids.data, ids, sizeof ids);
                        }});
      }
  return list;
}
const OpSpec<Gather> spec(reference, cases, 1e-13);
const auto* const ref = register_reference<Gather, reference>();
}  // namespace
}  // namespace xylem
