#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "device/op_spec.h"
#include "ops/router/router.h"
namespace xylem {
namespace {
void reference(const Router& a) {
  const int64_t E = a.logits.cols(), k = a.ids.cols();
  std::vector<int> order(static_cast<size_t>(E));
  for (int64_t t = 0; t < a.logits.rows(); t++) {
    const float* l = a.logits.row(t);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int x, int y) { return l[x] > l[y]; });
    double all = 0, chosen = 0;
    for (int64_t e = 0; e < E; e++) all += std::exp(double(l[e]) - l[order[0]]);
    for (int64_t i = 0; i < k; i++) chosen += std::exp(double(l[order[size_t(i)]]) - l[order[0]]);
    for (int64_t i = 0; i < k; i++) {
      const int e = order[size_t(i)];
      double w = std::exp(double(l[e]) - l[order[0]]) / (a.renormalise ? chosen : all);
      if (a.expert_scale) w *= a.expert_scale.as()[e];
      a.ids.as<int32_t>()[t * k + i] = e;
      a.weights.as()[t * k + i] = float(w);
    }
  }
}
CaseList<Router> cases() {
  CaseList<Router> list;
  struct S { int64_t t, e, k; };
  for (S s : {S{1, 1, 1}, S{3, 8, 2}, S{17, 128, 8}, S{5, 60, 4}})
    for (bool renorm : {true, false})
      list.push_back({std::to_string(s.t) + "x" + std::to_string(s.e) + " top " + std::to_string(s.k),
                      {shape({s.t, s.e}), renorm ? shape({s.e}) : Tensor{}, shape({s.t, s.k}, DType::kI32), shape({s.t, s.k}), renorm}, [](Router& a) {
                        if (a.logits.cols() > 3) a.logits.as()[3] = a.logits.as()[1];  // a tie
                      }});
  return list;
}
const OpSpec<Router> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<Router, reference>();
}  // namespace
}  // namespace xylem
