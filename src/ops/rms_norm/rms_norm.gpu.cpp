#include "device/opencl/opencl_rows.h"
#include "ops/rms_norm/rms_norm.h"

namespace xylem {
namespace {

constexpr size_t kGroup = 256;                     // WG of rms_norm.cl
constexpr int64_t kQuads = 4 * kGroup, kMaxEach = 16;  // beyond that a row does not fit into registers

bool aligned(const RmsNorm& a) {
  bool yes = a.x.cols() % 4 == 0;
  for (const Tensor* t : {&a.x, &a.w, &a.y}) {
    yes &= reinterpret_cast<uintptr_t>(t->data) % 16 == 0;
    for (int i = 0; i + 1 < t->rank; i++) yes &= t->stride[size_t(i)] % 4 == 0;
  }
  return yes;
}

void run(const RmsNorm& a, Device& d) {
  OpenClDevice& g = gpu(d);
  const int64_t parts = (a.x.cols() + kQuads - 1) / kQuads, each = parts <= kMaxEach ? parts : 0;
  const std::string options = "-DEACH=" + std::to_string(each) + " -DALIGNED=" + std::to_string(each > 0 && aligned(a));
  g.launch(g.kernel("rms_norm.cl", "rms_norm", options), {{size_t(a.x.rows()), 1, 1}, kGroup}, a.x, Rows(a.x), a.w, int(bool(a.w)), a.y, Rows(a.y),
           int(a.x.cols()), a.eps, a.w_offset);
}
const Kernel<RmsNorm> k(Dev::kOpenCl, "group", 10, nullptr, run);

}  // namespace
}  // namespace xylem
