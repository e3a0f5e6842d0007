#include "ops/splice_rows/splice_rows.h"

#include "ops/check_shape.h"

namespace xylem {

void check(const SpliceRows& a) {
  const int64_t T = a.x.dim[0], n = a.x.cols();
  check_contiguous("x", a.x, {T, n});
  check_contiguous("from", a.from, {a.from.dim[0], n});
  check_contiguous("rows", a.rows, {T}, DType::kI32);
}

}  // namespace xylem
