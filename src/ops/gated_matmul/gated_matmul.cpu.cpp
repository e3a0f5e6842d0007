#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/matmul.h"

namespace xylem {
namespace {

// The activations in place, then the product. Prompts on GPUs go the same way.
void composed(const GatedMatMul& a, Device& d) {
  const ActMul act{a.gate, a.up, a.up, a.act, a.limit};
  const MatMul product{a.up, a.w, a.bias, a.y, a.round_x};
  select_kernel(act, d).run(act, d);
  select_kernel(product, d).run(product, d);
}
const Kernel<GatedMatMul> cpu(Dev::kCpu, "composed", 10, nullptr, composed);
const Kernel<GatedMatMul> opencl(Dev::kOpenCl, "composed", 10, nullptr, composed);

}  // namespace
}  // namespace xylem
