#include "ops/rope/rope.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const RopeTable& a) {
  const int64_t T = a.positions.cols(), R = a.inv_freq.numel();
  if (a.axis) {
    CHECK(a.positions.dim[0] > 0, a.positions.dim[0]);
    check_shape("positions", a.positions, {a.positions.dim[0], T}, DType::kI32);
    check_contiguous("axis", a.axis, {R}, DType::kI32);
  } else {
    check_shape("positions", a.positions, {T}, DType::kI32);
  }
  check_contiguous("inv_freq", a.inv_freq, {R});
  check_contiguous("y", a.y, {T, 2, R});
}

void check(const Rope& a) {
  const int64_t T = a.x.dim[0], H = a.x.dim[1], D = a.x.dim[2], R = a.table.cols();
  CHECK(2 * R <= D, R, D);
  check_shape("x", a.x, {T, H, D});
  check_contiguous("table", a.table, {T, 2, R});
  check_output("y", a.y, {T, H, D});
}

}  // namespace xylem
