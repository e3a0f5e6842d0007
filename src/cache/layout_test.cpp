#include "cache/layout.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace xylem {
namespace {

TEST(CacheGroup, LookbackCoversWhatAQueryAtABlockBoundarySees) {
  CacheGroup g;
  EXPECT_EQ(g.lookback_blocks(16), kAllBlocks);
  g.window_tokens = -1;
  EXPECT_EQ(g.lookback_blocks(16), 1);
  for (int window = 1; window < 40; window++)
    for (int block : {1, 3, 4, 16}) {
      g.window_tokens = window;
      for (int boundary = 0; boundary < 20 * block; boundary += block) {
        const int oldest = std::max(0, boundary - window + 1);  // the oldest token the next query sees
        const int needed = (boundary - oldest + block - 1) / block;
        EXPECT_LE(needed, g.lookback_blocks(block));
        if (boundary > window) {
          EXPECT_EQ(needed, g.lookback_blocks(block)) << window << " " << block;
        }
      }
    }
}

TEST(CacheGroup, FirstNeededBlockHoldsTheOldestTokenInTheWindow) {
  CacheGroup g;
  EXPECT_EQ(g.first_needed_block(1000, 16), 0);
  for (int window = 1; window < 20; window++)
    for (int block : {1, 3, 4})
      for (int begin = 0; begin < 60; begin++) {
        g.window_tokens = window;
        EXPECT_EQ(g.first_needed_block(begin, block), std::max(0, begin - window + 1) / block);
      }
  g.window_tokens = -1;  // the state before begin
  EXPECT_EQ(g.first_needed_block(0, 4), 0);
  EXPECT_EQ(g.first_needed_block(4, 4), 0);
  EXPECT_EQ(g.first_needed_block(5, 4), 1);
}

TEST(CacheLayout, GroupsEqualDeclarations) {
  CacheLayout layout(2);
  const CacheRef a = layout.kv(2, 64), b = layout.window_kv(2, 64, 512), c = layout.kv(2, 64), d = layout.state(1000);
  EXPECT_EQ(a.group, c.group);
  EXPECT_NE(a.layer, c.layer);
  EXPECT_NE(a.group, b.group);
  ASSERT_EQ(layout.groups().size(), 3u);
  EXPECT_EQ(layout.groups()[size_t(a.group)].block_bytes(16), 2u * 16 * 2 * 64 * 2 * 2);
  EXPECT_EQ(layout.groups()[size_t(d.group)].block_bytes(16), 1000u);
}

}  // namespace
}  // namespace xylem
