// Which form of a matrix product is the fastest on an OpenCL device, measured with the model's own weights.
#pragma once
#include <span>

#include "ops/matmul/matmul.h"

namespace xylem {

// products: calls of a model's largest step, whose weights are there; x and y need no memory. Measures each kind of them for numbers of
// rows up to its own, and keeps for this and later starts the forms that are clearly faster than those of the rules. Devices other
// than OpenCL's have nothing to tune. An error is the device's.
struct TuneReport {
  int measured = 0, changed = 0;  // kinds; choices that differ from the rules
  double seconds = 0;
};
Result<TuneReport> tune_products(std::span<const MatMul> products, Device& device);

}  // namespace xylem
