#include "ops/blend_rows/blend_rows.h"
#include "ops/float_table.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

void run(const BlendRows& a, Device& d) {
  check(a);
  CHECK(a.table.dim[0] < INT32_MAX, a.table.dim[0]);
  OpenClDevice& g = gpu(d);
  const Pieces p(a.y.rows(), a.y.cols());
  g.launch(g.kernel("blend_rows.cl", "blend_rows"), p.range, a.x, Rows(a.x), a.table, float_table_type(a.table), int64_t(a.table.stride[0]), int(a.table.dim[0]), a.ids,
           a.weights, int(a.ids.cols()), a.y, Rows(a.y), int(a.y.cols()), p.count);
}
const Kernel<BlendRows> k(Dev::kOpenCl, "pieces", 10, nullptr, run);

}  // namespace
}  // namespace xylem
