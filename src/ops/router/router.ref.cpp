#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "device/op_spec.h"
#include "ops/router/router.h"
namespace xylem {
namespace {

std::vector<double> scores(const Router& a, const float* l) {
  const int64_t E = a.logits.cols();
  std::vector<double> s(static_cast<size_t>(E));
  if (a.score == Router::Score::kSigmoid) {
    for (int64_t e = 0; e < E; e++) s[size_t(e)] = 1.0 / (1.0 + std::exp(-double(l[e])));
    return s;
  }
  const double top = *std::max_element(l, l + E);
  double all = 0;
  for (int64_t e = 0; e < E; e++) all += s[size_t(e)] = std::exp(double(l[e]) - top);
  for (double& v : s) v /= all;
  return s;
}

// Experts of groups that are not kept get -infinity.
void keep_best_groups(const Router& a, std::vector<double>& choice) {
  const size_t n = choice.size() / size_t(a.groups);
  std::vector<double> best;
  for (size_t g = 0; g < size_t(a.groups); g++) {
    std::vector<double> group(choice.begin() + int64_t(g * n), choice.begin() + int64_t((g + 1) * n));
    std::sort(group.rbegin(), group.rend());
    best.push_back(a.group_score == Router::GroupScore::kMax || n == 1 ? group[0] : group[0] + group[1]);
  }
  std::vector<size_t> order(best.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) { return best[x] > best[y]; });
  for (size_t i = size_t(a.top_groups); i < order.size(); i++)
    std::fill_n(choice.begin() + int64_t(order[i] * n), n, -INFINITY);
}

void reference(const Router& a) {
  const int64_t E = a.logits.cols(), k = a.ids.cols();
  for (int64_t t = 0; t < a.logits.rows(); t++) {
    const std::vector<double> s = scores(a, a.logits.row(t));
    std::vector<double> choice = s;
    for (int64_t e = 0; e < E && a.bias; e++) choice[size_t(e)] += a.bias.as()[e];
    keep_best_groups(a, choice);
    std::vector<int32_t> order(static_cast<size_t>(E));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int x, int y) { return choice[size_t(x)] > choice[size_t(y)]; });
    double sum = a.score == Router::Score::kSigmoid ? 1e-20 : 0;
    for (int64_t i = 0; i < k; i++) sum += s[size_t(order[size_t(i)])];
    for (int64_t i = 0; i < k; i++) {
      const int32_t e = order[size_t(i)];
      double w = s[size_t(e)] / (a.renormalise ? sum : 1.0) * double(a.scale);
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
  struct G { S s; int groups, top; };
  using enum Router::Score;
  for (G g : {G{{1, 8, 3}, 4, 2}, G{{9, 256, 8}, 8, 4}, G{{4, 160, 6}, 8, 3}, G{{7, 64, 6}, 1, 1}, G{{5, 6, 2}, 6, 3}})
    for (Router::Score score : {kSoftmax, kSigmoid})
      for (bool renorm : {true, false}) {
        const bool sigmoid = score == kSigmoid;
        Router a{shape({g.s.t, g.s.e}), {}, shape({g.s.t, g.s.k}, DType::kI32), shape({g.s.t, g.s.k}), renorm, score,
                 sigmoid ? Router::GroupScore::kTopTwo : Router::GroupScore::kMax, g.groups, g.top, 2.5f, sigmoid ? shape({g.s.e}) : Tensor{}};
        list.push_back({std::string(sigmoid ? "sigmoid " : "softmax ") + std::to_string(g.s.t) + "x" + std::to_string(g.s.e) + " groups " + std::to_string(g.groups), a,
                        [](Router& r) {
                          if (r.bias) r.bias.as()[0] += 0.7f, r.bias.as()[r.bias.numel() - 1] -= 3.0f;  // choices below zero too
                        }});
      }
  return list;
}
const OpSpec<Router> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<Router, reference>();
}  // namespace
}  // namespace xylem
