#include "ops/matmul/skinny_plan.h"

#include <gtest/gtest.h>

namespace xylem {
namespace {

SkinnyShape shape(int64_t panels, int64_t inputs, int rows) {
  SkinnyShape s;
  s.panels = panels, s.inputs = inputs, s.panel_bytes = inputs * 32, s.rows = rows, s.teams = 264;
  return s;
}

TEST(SkinnyPlan, CoversEveryPanelAndInputOnce) {
  for (int64_t panels : {1, 16, 96, 160, 1536, 16384})
    for (int64_t inputs : {1, 32, 256, 1536, 2880, 4096, 12288, 28672})
      for (int rows : {8, 16})
        for (bool splits : {false, true}) {
          SkinnyShape s = shape(panels, inputs, rows);
          s.splits = splits, s.tasks = splits ? 1 : 40;
          const SkinnyPlan p = skinny_plan(s);
          EXPECT_GE(p.runs * p.run_panels, panels);
          EXPECT_LT((p.runs - 1) * p.run_panels, panels);
          EXPECT_GE(p.parts * p.part_chunks * 32, inputs);
          EXPECT_LT((p.parts - 1) * p.part_chunks * 32, inputs);
          EXPECT_TRUE(splits || p.parts == 1);
          EXPECT_TRUE(p.kept_chunks == 3 || p.kept_chunks == 6 || (p.kept_chunks == 12 && rows == 8)) << p.kept_chunks;
        }
}

TEST(SkinnyPlan, KeepsAllWorkGroupsReading) {
  for (const SkinnyShape& s : {shape(1536, 1536, 16), shape(768, 1536, 8), shape(96, 6144, 16), shape(96, 12288, 16), shape(96, 12288, 8), shape(16384, 1536, 16)}) {
    const SkinnyPlan p = skinny_plan(s);
    const double most = double(p.run_panels) * double((p.part_chunks + 7) / 8 * 8), mean = double(s.panels) * double(s.inputs / 32) / double(s.teams);
    EXPECT_LE(p.runs * p.parts, s.teams);
    EXPECT_LT(most, mean * 1.25) << s.panels << " panels of " << s.inputs;
    EXPECT_LE(p.part_chunks, 8 * p.kept_chunks);
  }
}

}  // namespace
}  // namespace xylem
