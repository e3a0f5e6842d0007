// Rewrites of plans, which ops register. Before a plan is compiled for joined launches, each may put other calls in place of
// neighbours that need fewer phases for the same result, up to the order of sums. What memory such calls need goes into `memory`,
// which lives as long as the compiled plan.
#pragma once
#include <vector>

#include "device/op.h"
#include "device/opencl/opencl_device.h"

namespace xylem {

using PlanRewrite = Plan (*)(Plan plan, OpenClDevice& d, std::vector<Buffer>& memory);
inline std::vector<PlanRewrite>& plan_rewrites() {
  static std::vector<PlanRewrite> v;
  return v;
}
// Whether tensors share memory, and whether a call touches a tensor's.
inline bool overlap(const Tensor& a, const Tensor& b) {
  if (!a || !b) return false;
  const auto *x = a.as<std::byte>(), *y = b.as<std::byte>();
  return x < y + b.bytes() && y < x + a.bytes();
}
inline bool touches(const Launch& l, const Tensor& memory) {
  bool any = false;
  l.tensors(l, [&](const Tensor& t) { any |= overlap(t, memory); });
  return any;
}
struct RegisterPlanRewrite {
  explicit RegisterPlanRewrite(PlanRewrite r) { plan_rewrites().push_back(r); }
};

}  // namespace xylem
