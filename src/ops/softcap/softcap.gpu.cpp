#include "ops/opencl_pieces.h"
#include "ops/softcap/softcap.h"

namespace xylem {
namespace {

void run(const Softcap& a, Device& d) {
  OpenClDevice& g = gpu(d);
  const Pieces p(a.x.rows(), a.x.cols());
  g.launch(g.kernel("softcap.cl", "softcap"), p.range, a.x, Rows(a.x), a.y, Rows(a.y), int(a.x.cols()), p.count, a.cap);
}
const Kernel<Softcap> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
