// How work-groups share a product by matmul_wide.cl.
#pragma once
#include <cstdint>

namespace xylem {

struct WideShape {
  int64_t panels = 0;   // of 16 outputs, or as many pairs of them
  int turn = 1;         // 2: pairs
  int64_t inputs = 0;
  int rows = 16;
  int64_t groups = 1;   // that run at the same time
};
struct WidePlan {
  int64_t run_panels = 1, runs = 1;     // of a work-group, and how many of these have all panels
  int64_t part_steps = 0, parts = 1;    // of 16 inputs; parts over K
  int steps = 0;                        // -DSTEPS: of a warp
};
WidePlan wide_plan(const WideShape& s);

}  // namespace xylem
