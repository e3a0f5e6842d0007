#include "ops/add/add.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

void run(const Add& a, Device& d) {
  OpenClDevice& g = gpu(d);
  const Pieces p(a.y.rows(), a.y.cols());
  g.launch(g.kernel("add.cl", "add"), p.range, a.a, Rows(a.a), a.b, Rows(a.b), a.y, Rows(a.y), int(a.y.cols()), p.count, a.scale);
}
const Kernel<Add> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
