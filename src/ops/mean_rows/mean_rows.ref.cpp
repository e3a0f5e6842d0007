#include "ops/mean_rows/mean_rows.h"

#include "device/op_spec.h"

namespace xylem {
namespace {

void reference(const MeanRows& a) {
  for (int64_t i = 0; i < a.y.rows(); i++)
    for (int64_t c = 0; c < a.y.cols(); c++) {
      double v = 0;
      for (int64_t r = 0; r < a.n; r++) v += a.x.row(i * a.n + r)[c];
      v = v / a.n * double(a.scale);
      if (a.w) v = (v - double(a.shift.as()[c])) * double(a.w.as()[c]);
      a.y.row(i)[c] = float(v);
    }
}

CaseList<MeanRows> cases() {
  CaseList<MeanRows> list;
  for (int n : {1, 2, 9})
    for (int64_t N : {1, 5})
      for (int64_t C : {1, 63, 768, 1152}) {
        const std::string label = std::to_string(N) + "x" + std::to_string(C) + " of " + std::to_string(n);
        list.push_back({label, {shape({N * n, C}), {}, {}, shape({N, C}), n, 27.7f}, {}});
        list.push_back({label + " shift", {shape({N * n, C}), shape({C}), shape({C}), shape({N, C}), n, 0.5f}, {}});
      }
  Tensor x = shape({27, 40});
  x.stride[0] = 65;
  list.push_back({"strided", {x, {}, {}, shape({3, 40}), 9, 1.0f}, {}});
  list.push_back({"280x1152 of 9", {shape({2520, 1152}), shape({1152}), shape({1152}), shape({280, 1152}), 9, 33.9f}, {}});
  return list;
}

const OpSpec<MeanRows> spec(reference, cases, 1e-12);
const auto* const ref = register_reference<MeanRows, reference>();

}  // namespace
}  // namespace xylem
