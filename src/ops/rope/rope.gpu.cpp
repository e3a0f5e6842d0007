#include "device/opencl/opencl_rows.h"
#include "ops/rope/rope.h"

namespace xylem {
namespace {

constexpr int64_t kGroup = 256;  // WG of rope.cl

size_t groups_for(int64_t items) {
  CHECK(items < INT32_MAX - kGroup, items);
  return size_t((items + kGroup - 1) / kGroup);
}

void run_table(const RopeTable& a, Device& d) {
  check(a);
  OpenClDevice& g = gpu(d);
  const int64_t R = a.inv_freq.numel(), count = a.positions.cols() * R;
  g.launch(g.kernel("rope.cl", "rope_table"), {{groups_for(count), 1, 1}, size_t(kGroup)}, a.positions, a.inv_freq, a.y, int(R), int(count), a.gain,
           a.axis, a.axis ? int(a.positions.dim[0]) : 0, a.axis ? int64_t(a.positions.stride[0]) : 0);
}

void run(const Rope& a, Device& d) {
  check(a);
  OpenClDevice& g = gpu(d);
  const int64_t R = a.table.cols(), H = a.x.dim[1], rest = a.x.data == a.y.data ? 0 : a.x.dim[2] - 2 * R;
  const size_t groups = groups_for(H * (R + rest));
  g.launch(g.kernel("rope.cl", "rope"), {{size_t(a.x.dim[0]) * groups, 1, 1}, size_t(kGroup)}, a.x, Rows(a.x), a.table, a.y, Rows(a.y), int(H), int(R), int(rest), int(groups),
           int(a.interleaved));
}

const Kernel<RopeTable> table_kernel(Dev::kOpenCl, "items", 10, nullptr, run_table);
const Kernel<Rope> kernel(Dev::kOpenCl, "items", 10, nullptr, run);

}  // namespace
}  // namespace xylem
