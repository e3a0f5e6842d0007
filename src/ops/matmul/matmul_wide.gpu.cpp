// The wide forms (gpu_product.h), and MatMul by them.
#include <string>

#include "ops/matmul/gpu_product.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul/wide_plan.h"

namespace xylem {
namespace {

bool aligned(const Tensor& t) { return !t || (reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.stride[0] % 4 == 0 && (t.rank < 3 || t.stride[1] % 4 == 0)); }

}  // namespace

void wide_product(const GpuProduct& p, GpuForm form, OpenClDevice& g) {
  CHECK(p.route == GpuRoute::kAll && p.x_div == 1 && p.rows <= form_rows(form), p.rows);
  const int64_t N = p.y.cols(), K = p.w.cols();
  const int turn = p.gated_y ? 2 : 1;  // TURN of matmul_wide.cl
  WideShape s;
  s.panels = (N + 15) / 16, s.turn = turn, s.inputs = K, s.rows = form_rows(form), s.groups = g.info().lanes == LaneMode::kNvidia ? g.info().compute_units : 2;
  const WidePlan plan = wide_plan(s);
  void* sums = plan.parts > 1 ? g.scratch(size_t(plan.parts * p.rows * s.panels * turn) * 16 * sizeof(float)) : nullptr;
  void* counters = plan.parts > 1 ? g.counters(size_t(plan.runs)) : nullptr;
  if (plan.parts > 1 && (!sums || !counters)) return;  // sync() says so
  std::string options = "-DROWS=" + std::to_string(s.rows) + " -DSTEPS=" + std::to_string(plan.steps);
  options += K % 16 == 0 && aligned(p.x) && aligned(p.up) && aligned(p.y) ? " -DWHOLE=1" : " -DWHOLE=0";
  options += std::string(" -DGATED=") + (p.up ? "1" : "0") + " -DGATED_Y=" + (p.gated_y ? "1" : "0");
  if (p.up || p.gated_y) options += " -DACT=" + std::to_string(int(p.act));
  g.launch(g.kernel("matmul_wide.cl", "matmul_wide", options), {{size_t(plan.runs), 1, size_t(plan.parts)}, 512}, p.x, Rows(p.x), p.up, Rows(p.up), p.limit, p.w, p.bias,
           int(bool(p.bias)), p.y, Rows(p.y), p.rows, int(N), int(K), int(plan.run_panels * turn), int(plan.parts), int(plan.part_steps), sums, counters);
}

namespace {

bool supports(const MatMul& a, const Device& d) {
  const OpenClInfo& info = static_cast<const OpenClDevice&>(d).info();
  return a.x.rows() >= 1 && a.x.rows() <= 16 && runs_mma(info) && form_suits(GpuForm::kWide8, a.w.dtype, a.round_x);
}
void run(const MatMul& a, Device& d) {
  gpu_product(product_of(a), a.x.rows() <= 8 ? GpuForm::kWide8 : GpuForm::kWide16, gpu(d));
}
const Kernel<MatMul> kernel(Dev::kOpenCl, "wide", 17, supports, run);

}  // namespace
}  // namespace xylem
