#include <algorithm>

#include "device/op_spec.h"
#include "ops/gather/gather.h"
namespace xylem {
namespace {
void reference(const Gather& a) {
  const int64_t K = a.table.cols(), N = a.table.dim[0];
  for (int64_t t = 0; t < a.ids.numel(); t++)
    for (int64_t k = 0; k < K; k++) {
      int64_t id = a.ids.as<int32_t>()[t];
      if (id >= 0 && std::count(a.aliases.begin(), a.aliases.end(), id)) id = a.alias_of;
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
  const auto with_aliases = [&](const char* label, std::array<int32_t, 3> aliases, int32_t alias_of) {
    Gather a{shape({20, 65}, DType::kBF16), shape({8}, DType::kI32), shape({8, 65}), 2.0f, aliases, alias_of};
    list.push_back({label, a, [](Gather& g) {
                      const int32_t ids[8] = {0, 7, 19, 999, -1, 7, 3, 20};
                      std::memcpy(g.ids.data, ids, sizeof ids);
                    }});
  };
  with_aliases("one alias", {7, -1, -1}, 3);
  with_aliases("three aliases, one beyond the table", {19, 999, 7}, 2);
  with_aliases("aliases of nothing", {-1, 7, 3}, -1);
  return list;
}
const OpSpec<Gather> spec(reference, cases, 1e-13);
const auto* const ref = register_reference<Gather, reference>();
}  // namespace
}  // namespace xylem
