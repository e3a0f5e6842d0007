#include "ops/act_mul/act_mul.h"

#include "ops/check_shape.h"

namespace xylem {
namespace {

// Heads of one tensor may be the rows of another.
void check_rows(const char* name, const Tensor& t, const Tensor& y, decltype(check_output)* check_dims) {
  CHECK(t.rank >= 1 && t.rank <= 3 && t.rows() == y.rows() && t.cols() == y.cols(), name, int(t.rank), t.rows(), y.rows(), t.cols(), y.cols());
  if (t.rank == 1) check_dims(name, t, {t.dim[0]}, DType::kF32);
  else if (t.rank == 2) check_dims(name, t, {t.dim[0], t.dim[1]}, DType::kF32);
  else check_dims(name, t, {t.dim[0], t.dim[1], t.dim[2]}, DType::kF32);
}

}  // namespace

void check(const ActMul& a) {
  check_rows("gate", a.gate, a.y, check_shape);
  if (a.up) check_rows("up", a.up, a.y, check_shape);
  CHECK(a.up || a.act != Act::kClampedSwiglu, int(a.act));
  check_rows("y", a.y, a.y, check_output);
}

}  // namespace xylem
