#include "device/opencl/opencl_rows.h"
#include "ops/router/router.h"

namespace xylem {
namespace {

constexpr size_t kGroup = 256;         // WG of router.cl
constexpr int64_t kMaxExperts = 1024;  // MAX_EXPERTS of router.cl

bool fits(const Router& a, const Device&) { return a.logits.cols() <= kMaxExperts; }

void run(const Router& a, Device& d) {
  check(a);
  OpenClDevice& g = gpu(d);
  const int64_t E = a.logits.cols(), k = a.ids.cols();
  g.launch(g.kernel("router.cl", "router"), {{size_t(a.logits.rows()), 1, 1}, kGroup}, a.logits, Rows(a.logits), a.expert_scale, int(bool(a.expert_scale)), a.bias,
           int(bool(a.bias)), a.ids, a.weights, int(E), int(k), int(a.renormalise), int(a.score == Router::Score::kSigmoid),
           int(a.group_score == Router::GroupScore::kTopTwo), a.groups, a.top_groups, a.scale);
}
const Kernel<Router> k(Dev::kOpenCl, "group", 10, fits, run, "at most 1024 experts");

}  // namespace
}  // namespace xylem
