#include "cli/stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace xylem {

Summary summarize(std::vector<double> v) {
  if (v.empty()) return {};
  std::sort(v.begin(), v.end());
  auto quantile = [&](double q) {  // linear between neighbours, as numpy
    const double at = q * double(v.size() - 1);
    const size_t i = size_t(at);
    return i + 1 < v.size() ? v[i] + (v[i + 1] - v[i]) * (at - double(i)) : v[i];
  };
  return {v.front(), std::accumulate(v.begin(), v.end(), 0.0) / double(v.size()), quantile(0.5), quantile(0.9), quantile(0.99), v.back()};
}

}  // namespace xylem
