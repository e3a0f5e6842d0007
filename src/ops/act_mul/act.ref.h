// The activations as references compute them; up is 1 where there is none. Fast kernels do not include this.
#pragma once
#include <algorithm>
#include <cmath>

#include "ops/act_mul/act_mul.h"

namespace xylem {

inline double gated_reference(Act act, double x, double up, double limit) {
  const double g = act == Act::kClampedSwiglu ? std::min(x, limit) : x;
  switch (act) {
    case Act::kSilu: return up * x / (1.0 + std::exp(-x));
    case Act::kGeluTanh: return up * 0.5 * x * (1.0 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case Act::kSigmoid: return up / (1.0 + std::exp(-x));
    case Act::kGeluErf: return up * 0.5 * x * std::erfc(-x * 0.70710678118654752);
    case Act::kClampedSwiglu: return (std::clamp(up, -limit, limit) + 1.0) * g / (1.0 + std::exp(-1.702 * g));
  }
  return 0;
}

}  // namespace xylem
