#include "ops/gated_add/gated_add.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

void run(const GatedAdd& a, Device& d) {
  OpenClDevice& g = gpu(d);
  const Pieces p(a.y.rows(), a.y.cols());
  g.launch(g.kernel("gated_add.cl", "gated_add"), p.range, a.a, Rows(a.a), a.b, Rows(a.b), a.gate, Rows(a.gate), a.y, Rows(a.y), int(a.y.cols()), p.count);
}
const Kernel<GatedAdd> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
