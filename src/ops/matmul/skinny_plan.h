// How work-groups share a product by matmul_skinny.cl.
#pragma once
#include <cstdint>

namespace xylem {

struct SkinnyShape {
  int64_t panels = 0;         // of 16 outputs
  int64_t inputs = 0;
  int64_t panel_bytes = 0;
  int64_t tasks = 1;          // of at most `rows`
  int rows = 8;               // 8 or 16
  bool splits = true;         // whether K may be shared by work-groups
  int64_t teams = 1;          // work-groups that run at the same time
};
struct SkinnyPlan {
  int64_t run_panels = 1, runs = 1;      // of a work-group, and how many of these have all panels
  int64_t part_chunks = 0, parts = 1;    // of 32 inputs; parts over K
  int kept_chunks = 0;                   // -DCHUNKS
};
SkinnyPlan skinny_plan(const SkinnyShape& s);

}  // namespace xylem
