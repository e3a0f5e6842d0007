#include <cmath>

#include "device/op_spec.h"
#include "ops/rms_norm/rms_norm.h"
namespace xylem {
namespace {
void reference(const RmsNorm& a) {
  const int64_t n = a.x.cols();
  for (int64_t i = 0; i < a.x.rows(); i++) {
    const float* x = a.x.row(i);
    double ss = 0;
    for (int64_t j = 0; j < n; j++) ss += double(x[j]) * x[j];
    const double inv = 1.0 / std::sqrt(ss / double(n) + double(a.eps));
    for (int64_t j = 0; j < n; j++) {
      double v = x[j] * inv;
      if (a.w) v *= double(a.w.as()[j]) + double(a.w_offset);
      a.y.row(i)[j] = float(v);
    }
  }
}
CaseList<RmsNorm> cases() {
  CaseList<RmsNorm> list;
  for (int64_t rows : {1, 3, 17})
    for (int64_t n : {1, 63, 128, 1536, 5120}) {
      const std::string label = std::to_string(rows) + "x" + std::to_string(n);
      list.push_back({label, {shape({rows, n}), shape({n}), shape({rows, n}), 1e-6f}, {}});
      list.push_back({label + " no weight", {shape({rows, n}), {}, shape({rows, n}), 1e-6f}, {}});
      list.push_back({label + " plus one", {shape({rows, n}), shape({n}), shape({rows, n}), 1e-5f, 1.0f}, {}});
    }
  Tensor heads = shape({5, 3, 64});  // three heads of a wider projection
  heads.stride = {1000, 64, 1, 1};
  list.push_back({"strided heads", {heads, shape({64}), shape({5, 3, 64}), 1e-6f}, {}});
  return list;
}
const OpSpec<RmsNorm> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<RmsNorm, reference>();
}  // namespace
}  // namespace xylem
