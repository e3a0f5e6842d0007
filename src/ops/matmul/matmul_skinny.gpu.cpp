// The skinny forms (gpu_product.h), and MatMul by them.
#include <string>

#include "ops/matmul/gpu_product.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul/skinny_plan.h"

namespace xylem {

void skinny_product(const GpuProduct& p, GpuForm form, OpenClDevice& g) {
  const int rows = p.rows, form_of_rows = form_rows(form), has_bias = bool(p.bias);
  const int64_t N = p.w.outputs(), K = p.w.cols();
  SkinnyShape s;
  s.panels = (N + 15) / 16, s.inputs = K, s.panel_bytes = panel_bytes(K, p.w.dtype), s.rows = form_of_rows;
  s.tasks = p.route == GpuRoute::kAll ? (rows + form_of_rows - 1) / form_of_rows : p.route == GpuRoute::kRow ? rows : p.n_tasks;
  s.splits = p.route == GpuRoute::kAll, s.teams = g.info().lanes == LaneMode::kNvidia ? 2 * g.info().compute_units : 16;
  const SkinnyPlan plan = skinny_plan(s);
  const int64_t stride = int64_t(rows) * N;
  void* sums = plan.parts > 1 ? g.scratch(size_t(plan.parts * stride) * sizeof(float)) : nullptr;
  void* counters = plan.parts > 1 ? g.counters(size_t(plan.runs * s.tasks)) : nullptr;
  if (plan.parts > 1 && (!sums || !counters)) return;  // sync() says so
  const int type = p.w.dtype == DType::kMxfp4 ? 4 : p.w.dtype == DType::kF8E4M3 ? 3 : 0;
  std::string options = "-DWT=" + std::to_string(type) + " -DROWS=" + std::to_string(form_of_rows) + " -DCHUNKS=" + std::to_string(plan.kept_chunks);
  g.launch(g.kernel("matmul_skinny.cl", "matmul_skinny", options), {{size_t(plan.runs), size_t(s.tasks), size_t(plan.parts)}, 256}, p.x, Rows(p.x), p.x_div, p.w,
           int64_t(packed_bytes(N, K, p.w.dtype)), p.bias, has_bias, p.y, Rows(p.y), rows, int(N), int(K), int(p.route), p.ids, p.order, p.tasks, int(plan.run_panels), int(plan.parts),
           int(plan.part_chunks), stride, sums, counters);
}

namespace {

bool supports(const MatMul& a, const Device& d) {
  return a.x.rows() <= 16 && runs_mma(static_cast<const OpenClDevice&>(d).info()) && form_suits(GpuForm::kSkinny8, a.w.dtype, a.round_x);
}
void run(const MatMul& a, Device& d) {
  gpu_product(product_of(a), a.x.rows() <= 8 ? GpuForm::kSkinny8 : GpuForm::kSkinny16, gpu(d));
}
const Kernel<MatMul> kernel(Dev::kOpenCl, "skinny", 16, supports, run);

}  // namespace
}  // namespace xylem
