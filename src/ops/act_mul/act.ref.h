// The activations as references compute them. Fast kernels do not include this.
#pragma once
#include <cmath>

#include "ops/act_mul/act_mul.h"

namespace xylem {

inline double activate_reference(Act act, double x) {
  switch (act) {
    case Act::kSilu: return x / (1.0 + std::exp(-x));
    case Act::kGeluTanh: return 0.5 * x * (1.0 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

}  // namespace xylem
