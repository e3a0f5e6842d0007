#include "device/op_spec.h"
#include "ops/gated_add/gated_add.h"
namespace xylem {
namespace {
void reference(const GatedAdd& a) {
  for (int64_t t = 0; t < a.y.rows(); t++) {
    const double gate = 1.0 / (1.0 + std::exp(-double(a.gate.row(t)[0])));
    for (int64_t i = 0; i < a.y.cols(); i++) a.y.row(t)[i] = float(a.a.row(t)[i] + gate * a.b.row(t)[i]);
  }
}
CaseList<GatedAdd> cases() {
  CaseList<GatedAdd> list;
  for (int64_t t : {1, 5})
    for (int64_t n : {1, 31, 2048}) {
      Tensor gate = shape({t, 1});
      gate.stride[0] = 9;
      list.push_back({std::to_string(t) + "x" + std::to_string(n), {shape({t, n}), shape({t, n}), gate, shape({t, n})}, {}});
    }
  return list;
}
const OpSpec<GatedAdd> spec(reference, cases, 1e-12);
const auto* const ref = register_reference<GatedAdd, reference>();
}  // namespace
}  // namespace xylem
