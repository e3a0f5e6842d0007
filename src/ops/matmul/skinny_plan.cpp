#include "ops/matmul/skinny_plan.h"

#include <algorithm>

namespace xylem {
namespace {

constexpr int64_t kWarps = 8;
// Measured against reading weights, per byte: rows of x and sums come from the cache. Adding up parts costs as much as reading kSplit.
constexpr double kCached = 0.4, kSplit = 16 << 10;

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What the work-group with most to do reads.
double cost(const SkinnyShape& s, const SkinnyPlan& p) {
  const int64_t chunks = quotient_up(s.inputs, 32), read = quotient_up(p.part_chunks, kWarps) * kWarps;
  const double weights = double(p.run_panels) * double(s.panel_bytes) * double(read) / double(chunks), x = double(read * 32 * 4 * s.rows);
  const double sums = p.parts > 1 ? double(p.run_panels * 16 * s.rows * 4 * p.parts) : 0;
  return weights + kCached * (x + sums) + (p.parts > 1 ? kSplit : 0);
}

SkinnyPlan with_parts(const SkinnyShape& s, int64_t parts) {
  SkinnyPlan p;
  const int64_t chunks = quotient_up(s.inputs, 32);
  p.part_chunks = quotient_up(chunks, parts), p.parts = quotient_up(chunks, p.part_chunks);
  // Tasks of a route differ in number from what there can be: then four runs for each work-group even that out.
  const int64_t wanted = s.splits ? s.teams : 4 * s.teams;
  p.run_panels = quotient_up(s.panels, std::clamp<int64_t>(wanted / (p.parts * s.tasks), 1, s.panels)), p.runs = quotient_up(s.panels, p.run_panels);
  const int64_t per_warp = quotient_up(p.part_chunks, kWarps);
  p.kept_chunks = per_warp <= 3 ? 3 : per_warp <= 6 || s.rows > 8 ? 6 : 12;
  return p;
}

}  // namespace

SkinnyPlan skinny_plan(const SkinnyShape& s) {
  SkinnyPlan best = with_parts(s, 1);
  const int64_t most = s.splits ? std::min<int64_t>(quotient_up(s.inputs, 32 * kWarps), 32) : 1;
  for (int64_t parts = 2; parts <= most; parts++) {
    const SkinnyPlan p = with_parts(s, parts);
    const auto passes = [](const SkinnyPlan& q) { return quotient_up(quotient_up(q.part_chunks, kWarps), q.kept_chunks); };
    if (passes(p) < passes(best) || (passes(p) == passes(best) && cost(s, p) < cost(s, best))) best = p;
  }
  return best;
}

}  // namespace xylem
