#include "ops/float_table.h"
#include "ops/gather/gather.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

bool float_table(const Gather& a, const Device&) { return !is_quantised(a.table.dtype); }

void run(const Gather& a, Device& d) {
  check(a);
  OpenClDevice& g = gpu(d);
  const int64_t K = a.table.cols();
  const Pieces p(a.ids.numel(), K);
  g.launch(g.kernel("gather.cl", "gather"), p.range, a.table, float_table_type(a.table), int(a.table.layout == Layout::kPacked), int64_t(a.table.stride[0]), int(a.table.dim[0]), a.ids, a.y,
           Rows(a.y), int(K), p.count, a.scale, a.aliases[0], a.aliases[1], a.aliases[2], a.alias_of);
}
const Kernel<Gather> k(Dev::kOpenCl, "pieces", 10, float_table, run, "tables that are not quantised");

}  // namespace
}  // namespace xylem
