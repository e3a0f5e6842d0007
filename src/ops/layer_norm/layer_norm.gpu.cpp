#include "device/opencl/opencl_rows.h"
#include "ops/layer_norm/layer_norm.h"

namespace xylem {
namespace {

constexpr int64_t kGroup = 256;                      // WG of layer_norm.cl
constexpr int64_t kQuads = 4 * kGroup, kMaxEach = 8;  // a longer row is read once more for each of its sums

bool aligned(LayerNorm a) {
  bool yes = a.x.cols() % 4 == 0;
  const auto see = [&](const Tensor& t) { yes &= reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && (t.rank < 2 || t.stride[0] % 4 == 0); };
  a.fields(see, see, see);
  return yes;
}

void run(const LayerNorm& a, Device& d) {
  check(a);
  CHECK(a.x.rows() < INT32_MAX && a.x.cols() < INT32_MAX - kGroup, a.x.rows(), a.x.cols());
  OpenClDevice& g = gpu(d);
  const int64_t parts = (a.x.cols() + kQuads - 1) / kQuads, each = parts <= kMaxEach ? parts : 0;
  const std::string options = "-DEACH=" + std::to_string(each) + " -DALIGNED=" + std::to_string(each > 0 && aligned(a));
  g.launch(g.kernel("layer_norm.cl", "layer_norm", options), {{size_t(a.x.rows()), 1, 1}, size_t(kGroup)}, a.x, Rows(a.x), a.w, a.bias, a.y, Rows(a.y), int(a.x.cols()), a.eps);
}
const Kernel<LayerNorm> k(Dev::kOpenCl, "group", 10, nullptr, run);

}  // namespace
}  // namespace xylem
