#include "ops/matmul/wide_plan.h"

#include <gtest/gtest.h>

namespace xylem {
namespace {

WideShape shape(int64_t panels, int64_t inputs, int rows) {
  WideShape s;
  s.panels = panels, s.inputs = inputs, s.rows = rows, s.groups = 132;
  return s;
}

TEST(WidePlan, CoversEveryPanelAndInputOnce) {
  for (int64_t panels : {1, 16, 96, 160, 1536, 16384})
    for (int64_t inputs : {1, 32, 256, 1536, 2880, 4096, 12288, 28672})
      for (int rows : {8, 16})
        for (int64_t groups : {2, 132}) {
          WideShape s = shape(panels, inputs, rows);
          s.groups = groups;
          const WidePlan p = wide_plan(s);
          EXPECT_GE(p.runs * p.run_panels, panels);
          EXPECT_LT((p.runs - 1) * p.run_panels, panels);
          EXPECT_GE(p.parts * p.part_steps * 16, inputs);
          EXPECT_LT((p.parts - 1) * p.part_steps * 16, inputs);
          EXPECT_LE(p.part_steps, 16 * p.steps);
          s.panels = panels / 2, s.turn = 2;
          if (s.panels) EXPECT_GE(wide_plan(s).runs * wide_plan(s).run_panels, s.panels);
          EXPECT_TRUE(p.steps == 1 || p.steps == 3 || p.steps == 6 || p.steps == 8) << p.steps;
        }
}

TEST(WidePlan, KeepsAllComputeUnitsReading) {
  for (const WideShape& s : {shape(128, 1536, 16), shape(1536, 1536, 16), shape(768, 1536, 8), shape(96, 6144, 16), shape(96, 12288, 16), shape(96, 12288, 8), shape(16384, 1536, 16)}) {
    const WidePlan p = wide_plan(s);
    const double most = double(p.run_panels) * double((p.part_steps + 15) / 16 * 16), mean = double(s.panels) * double(s.inputs / 16) / double(s.groups);
    EXPECT_LE(p.runs * p.parts, s.groups);
    EXPECT_LT(most, mean * 1.25) << s.panels << " panels of " << s.inputs;
  }
}

}  // namespace
}  // namespace xylem
