#include "ops/mean_rows/mean_rows.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

void run(const MeanRows& a, Device& d) {
  check(a);
  CHECK(a.x.rows() < INT32_MAX, a.x.rows());
  OpenClDevice& g = gpu(d);
  const Pieces p(a.y.rows(), a.y.cols());
  g.launch(g.kernel("mean_rows.cl", "mean_rows"), p.range, a.x, Rows(a.x), a.shift, a.w, int(bool(a.w)), a.y, Rows(a.y), int(a.y.cols()), p.count, a.n, a.scale / float(a.n));
}
const Kernel<MeanRows> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
