#include "ops/opencl_pieces.h"
#include "ops/splice_rows/splice_rows.h"

namespace xylem {
namespace {

void run(const SpliceRows& a, Device& d) {
  check(a);
  CHECK(a.from.dim[0] < INT32_MAX, a.from.dim[0]);
  OpenClDevice& g = gpu(d);
  const Pieces p(a.x.rows(), a.x.cols());
  g.launch(g.kernel("splice_rows.cl", "splice_rows"), p.range, a.x, a.from, a.rows, int(a.x.cols()), p.count, int(a.from.dim[0]));
}
const Kernel<SpliceRows> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
