#include "ops/layer_norm/layer_norm.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const LayerNorm& a) {
  const int64_t T = a.x.dim[0], n = a.x.cols();
  CHECK(n > 0, n);
  check_shape("x", a.x, {T, n});
  check_contiguous("w", a.w, {n});
  check_contiguous("bias", a.bias, {n});
  check_output("y", a.y, {T, n});
}

}  // namespace xylem
