#include "ops/clamp/clamp.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

void run(const Clamp& a, Device& d) {
  check(a);
  OpenClDevice& g = gpu(d);
  const Pieces p(a.y.rows(), a.y.cols());
  g.launch(g.kernel("clamp.cl", "clamp_rows"), p.range, a.x, Rows(a.x), a.lo, a.hi, a.y, Rows(a.y), int(a.y.cols()), p.count);
}
const Kernel<Clamp> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
