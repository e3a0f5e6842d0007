#include "ops/gate_up/gate_up.h"
#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/gpu_product.h"
#include "ops/matmul/matmul.h"

namespace xylem {
namespace {

bool few_rows(const GateUp& a, const Device& d) {
  return a.x.rows() <= 16 && a.w.rank == 2 && a.y.cols() % kPanel == 0 && form_runs(GpuForm::kWide8, a.w.dtype, a.round_x, static_cast<const OpenClDevice&>(d).info());
}
void run(const GateUp& a, Device& d) {
  CHECK(a.x.rows() == a.y.rows() && a.w.outputs() == 2 * a.y.cols() && a.x.cols() == a.w.cols(), a.x.rows(), a.y.cols(), a.w.outputs());
  GpuProduct p;
  p.x = a.x, p.w = a.w, p.bias = a.bias, p.y = a.y, p.gated_y = true, p.act = a.act, p.limit = a.limit, p.round_x = a.round_x, p.rows = int(a.x.rows());
  gpu_product(p, p.rows <= 8 ? GpuForm::kWide8 : GpuForm::kWide16, gpu(d));
}
const Kernel<GateUp> wide(Dev::kOpenCl, "wide", 10, few_rows, run, "at most 16 rows and bfloat16 weights of whole panels");

}  // namespace

Plan with_gate_up(Plan plan, Device& d) {
  for (size_t i = 0; i + 1 < plan.size(); i++) {
    const auto* m = call_of<MatMul>(plan[i]);
    const auto* g = call_of<GatedMatMul>(plan[i + 1]);
    if (!m || !g || m->w.rank != 2 || g->gate.data != m->y.data || g->up.as() != g->gate.as() + g->gate.cols() || 2 * g->gate.cols() != m->y.cols() || g->gate.rows() != m->y.rows()) continue;
    // gate's memory is free for it (gated_matmul.h)
    const GateUp both{m->x, m->w, m->bias, g->gate, g->act, g->limit, m->round_x};
    const MatMul down{g->gate, g->w, g->bias, g->y, g->round_x};
    const auto* kernel = find_kernel(both, d);
    if (!kernel || !find_kernel(down, d)) continue;
    plan[i] = bind(*kernel, both), plan[i + 1] = bind(select_kernel(down, d), down);
  }
  return plan;
}

}  // namespace xylem
