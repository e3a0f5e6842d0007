#include "device/opencl/opencl_rows.h"
#include "ops/rms_norm/rms_norm.h"

namespace xylem {
namespace {

constexpr size_t kGroup = 256;  // WG of rms_norm.cl

void run(const RmsNorm& a, Device& d) {
  OpenClDevice& g = gpu(d);
  g.launch(g.kernel("rms_norm.cl", "rms_norm"), {{size_t(a.x.rows()), 1, 1}, kGroup}, a.x, Rows(a.x), a.w, int(bool(a.w)), a.r, Rows(a.r), int(bool(a.r)), a.scale,
           int(bool(a.scale)), a.y, Rows(a.y), int(a.x.cols()), a.eps, a.w_offset);
}
const Kernel<RmsNorm> k(Dev::kOpenCl, "group", 10, nullptr, run);

}  // namespace
}  // namespace xylem
