#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/gpu_product.h"

namespace xylem {
namespace {

// The activations are computed by every work-group for the part of x that it reads.
void run(const GatedMatMul& a, Device& d) {
  CHECK(a.up);
  GpuProduct p;
  p.x = a.gate, p.up = a.up, p.act = a.act, p.limit = a.limit, p.w = a.w, p.bias = a.bias, p.y = a.y, p.round_x = a.round_x, p.rows = int(a.gate.rows());
  gpu_product(p, GpuForm::kGemv1, gpu(d));
}
bool one_row(const GatedMatMul& a, const Device&) { return a.gate.rows() == 1; }
const Kernel<GatedMatMul> gemv(Dev::kOpenCl, "gemv", 30, one_row, run, "one row");

}  // namespace
}  // namespace xylem
