#include "ops/router/router.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const Router& a) {
  const int64_t T = a.logits.rows(), E = a.logits.cols(), k = a.ids.cols();
  check_shape("logits", a.logits, {T, E});
  check_contiguous("ids", a.ids, {T, k}, DType::kI32);
  check_contiguous("weights", a.weights, {T, k});
  if (a.expert_scale) check_contiguous("expert_scale", a.expert_scale, {E});
  if (a.bias) check_contiguous("bias", a.bias, {E});
  CHECK(a.groups >= 1 && E % a.groups == 0 && a.top_groups >= 1 && a.top_groups <= a.groups && k <= E / a.groups * a.top_groups, k, E, a.groups, a.top_groups);
}

}  // namespace xylem
