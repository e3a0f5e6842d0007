#include "ops/mean_rows/mean_rows.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const MeanRows& a) {
  const int64_t N = a.y.dim[0], C = a.y.cols();
  CHECK(a.n > 0, a.n);
  check_shape("x", a.x, {N * a.n, C});
  CHECK(bool(a.shift) == bool(a.w), bool(a.shift), bool(a.w));
  if (a.w) check_contiguous("shift", a.shift, {C}), check_contiguous("w", a.w, {C});
  check_output("y", a.y, {N, C});
}

}  // namespace xylem
