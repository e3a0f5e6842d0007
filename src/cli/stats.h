// Figures of repeated measurements.
#pragma once
#include <vector>

namespace xylem {

// Of any number of values; all 0 when there are none.
struct Summary {
  double min = 0, mean = 0, median = 0, p90 = 0, p99 = 0, max = 0;
};
Summary summarize(std::vector<double> values);

}  // namespace xylem
