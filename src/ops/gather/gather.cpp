#include "ops/gather/gather.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const Gather& a) {
  const int64_t T = a.ids.numel(), N = a.table.dim[0], K = a.table.cols();
  CHECK(!is_quantised(a.table.dtype), dtype_name(a.table.dtype));
  CHECK(a.table.data && a.table.rank == 2 && N > 0, int(a.table.rank), N);
  if (a.table.layout == Layout::kStrided) check_shape("table", a.table, {N, K}, a.table.dtype);
  check_contiguous("ids", a.ids, {T}, DType::kI32);
  check_output("y", a.y, {T, K});
}

}  // namespace xylem
