#include "device/op_spec.h"
#include "ops/add/add.h"
namespace xylem {
namespace {
void reference(const Add& a) {
  for (int64_t m = 0; m < a.y.rows(); m++)
    for (int64_t i = 0; i < a.y.cols(); i++) a.y.row(m)[i] = float((double(a.a.row(m)[i]) + a.b.row(m)[i]) * a.scale);
}
CaseList<Add> cases() {
  CaseList<Add> list;
  for (int64_t m : {1, 5})
    for (int64_t n : {1, 31, 2048}) list.push_back({std::to_string(m) + "x" + std::to_string(n), {shape({m, n}), shape({m, n}), shape({m, n}), 0.7f}, {}});
  Tensor x = shape({4, 40});
  x.stride[0] = 64;
  list.push_back({"strided", {x, shape({4, 40}), x, 1.0f}, {}});
  return list;
}
const OpSpec<Add> spec(reference, cases, 1e-13);
const auto* const ref = register_reference<Add, reference>();
}  // namespace
}  // namespace xylem
