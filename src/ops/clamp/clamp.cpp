#include "ops/clamp/clamp.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const Clamp& a) {
  const int64_t T = a.x.dim[0], n = a.x.cols();
  check_shape("x", a.x, {T, n});
  check_contiguous("lo", a.lo, {1});
  check_contiguous("hi", a.hi, {1});
  check_output("y", a.y, {T, n});
}

}  // namespace xylem
