#include "device/opencl/opencl_device.h"
#include "ops/residual_norm/residual_norm.h"

namespace xylem {
namespace {

constexpr int64_t kGroup = 256;   // WG of residual_norm.cl
constexpr int64_t kQuads = 4 * kGroup;

int64_t each(const ResidualNorm& a) { return (a.x.cols() + kQuads - 1) / kQuads; }
// More of a row does not fit into an Intel GPU's registers.
bool fits(const ResidualNorm& a, const Device&) { return each(a) <= (a.z ? 7 : a.x_w ? 12 : 16); }

bool aligned(ResidualNorm a) {
  bool yes = a.x.cols() % 4 == 0;
  const auto see = [&](const Tensor& t) { yes &= !t || &t == &a.scale || (reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && (t.rank < 2 || t.stride[0] % 4 == 0)); };
  a.fields(see, see, see);
  return yes;
}
std::string options(const ResidualNorm& a) {
  std::string text = "-DEACH=" + std::to_string(each(a));
  const auto flag = [&](const char* name, bool on) { text += std::string(" -D") + name + (on ? "=1" : "=0"); };
  flag("ALIGNED", aligned(a)), flag("X_W", bool(a.x_w)), flag("Z", bool(a.z)), flag("Z_W", bool(a.z_w)), flag("S_W", bool(a.s_w)), flag("FROM", bool(a.from)), flag("Y", a.outputs() > 0);
  return text;
}
int stride(const Tensor& t) {
  CHECK(!t || t.stride[0] < INT32_MAX, t.stride[0]);
  return t ? int(t.stride[0]) : 0;
}

void run(const ResidualNorm& a, Device& d) {
  check(a);
  CHECK(a.x.rows() < INT32_MAX && fits(a, d), a.x.rows(), a.x.cols());
  OpenClDevice& g = gpu(d);
  const Tensor& scale = a.scale ? a.scale : a.x_w ? a.x_w : a.outputs() && a.y_w[0] ? a.y_w[0] : a.x;
  g.launch(g.kernel("residual_norm.cl", "residual_norm", options(a)), {{size_t(a.x.rows()), 1, 1}, size_t(kGroup)}, a.x, a.z, a.r, scale, a.x_w, a.z_w, a.s_w, a.y[0], a.y[1],
           a.y[2], a.y_w[0], a.y_w[1], a.y_w[2], stride(a.x), stride(a.z), stride(a.r), stride(a.y[0]), stride(a.y[1]), stride(a.y[2]), int(bool(a.scale)), a.outputs(),
           int(a.x.cols()), a.eps, a.w_offset, a.from, stride(a.from));
}
const Kernel<ResidualNorm> k(Dev::kOpenCl, "group", 10, fits, run, "rows of at most 16384 numbers, 12288 where an output is normed, 7168 where two are added");

}  // namespace
}  // namespace xylem
