#include "ops/residual_norm/residual_norm.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const ResidualNorm& a) {
  const int64_t T = a.x.dim[0], n = a.x.cols();
  const auto weight = [n](const char* name, const Tensor& w) {
    if (w) check_contiguous(name, w, {n});
  };
  CHECK(n > 0, n);
  check_shape("x", a.x, {T, n});
  weight("x_w", a.x_w);
  if (a.z) check_shape("z", a.z, {T, n});
  CHECK(a.z || (!a.z_w && !a.s_w), bool(a.z_w), bool(a.s_w));
  weight("z_w", a.z_w);
  weight("s_w", a.s_w);
  check_output("r", a.r, {T, n});
  if (a.from) check_shape("from", a.from, {T, n});
  CHECK(a.from.data != a.r.data);
  if (a.scale) check_contiguous("scale", a.scale, {1});
  for (int i = 0; i < ResidualNorm::kOutputs; i++) {
    CHECK(bool(a.y[i]) == (i < a.outputs()) && bool(a.y_w[i]) == bool(a.y[i]), i, a.outputs(), bool(a.y_w[i]));
    if (!a.y[i]) continue;
    check_output("y", a.y[i], {T, n});
    weight("y_w", a.y_w[i]);
  }
}

}  // namespace xylem
