#include "ops/gather/gather.h"
#include "ops/opencl_pieces.h"

namespace xylem {
namespace {

bool float_table(const Gather& a, const Device&) { return !is_quantised(a.table.dtype); }

void run(const Gather& a, Device& d) {
  OpenClDevice& g = gpu(d);
  const int64_t K = a.table.cols();
  const Pieces p(a.ids.numel(), K);
  const int type = a.table.dtype == DType::kF32 ? 0 : a.table.dtype == DType::kBF16 ? 1 : 2;
  g.launch(g.kernel("gather.cl", "gather"), p.range, a.table, type, int(a.table.layout == Layout::kPacked), int64_t(a.table.stride[0]), int(a.table.dim[0]), a.ids, a.y,
           Rows(a.y), int(K), p.count, a.scale);
}
const Kernel<Gather> k(Dev::kOpenCl, "pieces", 10, float_table, run, "tables that are not quantised");

}  // namespace
}  // namespace xylem
