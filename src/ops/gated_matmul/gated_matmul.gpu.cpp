#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/gpu_product.h"

namespace xylem {
namespace {

// The activations are computed by every work-group for the part of x that it reads.
void run_form(const GatedMatMul& a, GpuForm form, Device& d) {
  CHECK(a.up);
  GpuProduct p;
  p.x = a.gate, p.up = a.up, p.act = a.act, p.limit = a.limit, p.w = a.w, p.bias = a.bias, p.y = a.y, p.round_x = a.round_x, p.rows = int(a.gate.rows());
  gpu_product(p, form, gpu(d));
}
bool one_row(const GatedMatMul& a, const Device&) { return a.gate.rows() == 1; }
bool few_rows(const GatedMatMul& a, const Device& d) { return a.gate.rows() <= 16 && form_runs(GpuForm::kWide8, a.w.dtype, a.round_x, static_cast<const OpenClDevice&>(d).info()); }
void run_wide(const GatedMatMul& a, Device& d) { run_form(a, a.gate.rows() <= 8 ? GpuForm::kWide8 : GpuForm::kWide16, d); }
const Kernel<GatedMatMul> gemv(Dev::kOpenCl, "gemv", 30, one_row, [](const GatedMatMul& a, Device& d) { run_form(a, GpuForm::kGemv1, d); }, "one row");
const Kernel<GatedMatMul> wide(Dev::kOpenCl, "wide", 20, few_rows, run_wide, "at most 16 rows and bfloat16 weights");

}  // namespace
}  // namespace xylem
