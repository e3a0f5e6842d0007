#include "ops/matmul/wide_plan.h"

#include <algorithm>

namespace xylem {
namespace {

constexpr int64_t kWarps = 16, kMostSteps = 8;
// Measured against reading weights, per byte: rows of x and sums come from the cache. Adding up parts costs as much as reading kSplit:
// work-groups wait for each other, while what little each has to read would have come before its phase begins.
constexpr double kCached = 0.4, kSplit = 60 << 10;

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

WidePlan with_parts(const WideShape& s, int64_t parts) {
  WidePlan p;
  const int64_t steps = quotient_up(s.inputs, 16);
  p.part_steps = quotient_up(steps, parts), p.parts = quotient_up(steps, p.part_steps);
  p.run_panels = quotient_up(s.panels, std::clamp<int64_t>(s.groups / p.parts, 1, s.panels)), p.runs = quotient_up(s.panels, p.run_panels);
  const int64_t warp = quotient_up(p.part_steps, kWarps);
  p.steps = warp <= 1 ? 1 : warp <= 3 ? 3 : warp <= 6 ? 6 : 8;  // few kernels
  return p;
}
// What the work-group with most to do reads.
double cost(const WideShape& s, const WidePlan& p) {
  const int64_t read = quotient_up(p.part_steps, kWarps) * kWarps * 16;  // inputs
  const double weights = double(p.run_panels * s.turn * read * 32), x = double(read * 4 * s.rows);
  const double sums = p.parts > 1 ? double(p.run_panels * s.turn * 16 * s.rows * 4 * p.parts) : 0;
  return weights + kCached * (x + sums) + (p.parts > 1 ? kSplit : 0);
}

}  // namespace

WidePlan wide_plan(const WideShape& s) {
  const int64_t steps = quotient_up(s.inputs, 16), least = quotient_up(steps, kWarps * kMostSteps), most = std::max(least, std::min<int64_t>(quotient_up(steps, kWarps), 32));
  WidePlan best = with_parts(s, least);
  for (int64_t parts = least + 1; parts <= most; parts++) {
    const WidePlan p = with_parts(s, parts);
    if (cost(s, p) < cost(s, best)) best = p;
  }
  return best;
}

}  // namespace xylem
