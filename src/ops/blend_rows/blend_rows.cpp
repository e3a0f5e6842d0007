#include "ops/blend_rows/blend_rows.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const BlendRows& a) {
  const int64_t T = a.x.dim[0], C = a.x.cols(), N = a.table.dim[0], K = a.ids.cols();
  CHECK(N > 0 && K > 0 && C > 0, N, K, C);
  CHECK(a.table.dtype == DType::kF32 || a.table.dtype == DType::kBF16 || a.table.dtype == DType::kF16, dtype_name(a.table.dtype));
  check_shape("x", a.x, {T, C});
  check_shape("table", a.table, {N, C}, a.table.dtype);
  check_contiguous("ids", a.ids, {T, K}, DType::kI32);
  check_contiguous("weights", a.weights, {T, K});
  check_output("y", a.y, {T, C});
}

}  // namespace xylem
