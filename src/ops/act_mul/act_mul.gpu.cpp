#include "ops/act_mul/act_mul.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

void run(const ActMul& a, Device& d) {
  check(a);
  OpenClDevice& g = gpu(d);
  const Pieces p(a.y.rows(), a.y.cols());
  g.launch(g.kernel("act_mul.cl", "act_mul"), p.range, a.gate, Rows(a.gate), a.up, Rows(a.up), a.y, Rows(a.y), int(a.y.cols()), p.count, int(a.act), int(bool(a.up)), a.limit);
}
const Kernel<ActMul> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
