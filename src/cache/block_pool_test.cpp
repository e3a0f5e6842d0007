#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include "cache/block_table.h"

namespace xylem {
namespace {

TEST(BlockPool, GivesEveryBlockOnceThenHoles) {
  BlockPool pool(3);
  EXPECT_EQ(pool.take(), 0);
  EXPECT_EQ(pool.take(), 1);
  EXPECT_EQ(pool.take(), 2);
  EXPECT_EQ(pool.take(), kHole);
  EXPECT_EQ(pool.used_blocks(), 3);
  pool.release(1);
  EXPECT_EQ(pool.take(), 1);
}

TEST(BlockPool, KeepsABlockUntilItsLastReference) {
  BlockPool pool(1);
  const BlockId b = pool.take();
  pool.retain(b);
  pool.release(b);
  EXPECT_EQ(pool.free_blocks(), 0);
  pool.release(b);
  EXPECT_EQ(pool.free_blocks(), 1);
}

TEST(BlockPool, AnIndexedBlockBecomesEvictableInOrderOfRelease) {
  BlockPool pool(3);
  for (int i = 0; i < 3; i++) pool.set_indexed(pool.take());
  for (BlockId b : {2, 0, 1}) pool.release(b);
  EXPECT_EQ(pool.evictable_blocks(), 3);
  EXPECT_EQ(pool.free_blocks(), 0);
  EXPECT_EQ(pool.next_evictable(), 2);
  pool.retain(2);  // used again: the next oldest moves up
  EXPECT_EQ(pool.next_evictable(), 0);
  pool.release(2);  // and it is the youngest now
  pool.clear_indexed(0);
  EXPECT_EQ(pool.next_evictable(), 1);
  EXPECT_EQ(pool.free_blocks(), 1);
  pool.clear_indexed(1);
  EXPECT_EQ(pool.next_evictable(), 2);
}

TEST(BlockPool, UnlikelyBlocksAreEvictedBeforeLikelyOnes) {
  BlockPool pool(4);
  for (int i = 0; i < 4; i++) pool.set_indexed(pool.take());
  pool.release(0);
  pool.release(1, false);
  pool.release(2, false);
  pool.release(3);
  std::vector<BlockId> order;
  while (pool.evictable_blocks() > 0) {
    order.push_back(pool.next_evictable());
    pool.clear_indexed(order.back());
  }
  EXPECT_EQ(order, (std::vector<BlockId>{1, 2, 0, 3}));
}

TEST(BlockPool, AUsedBlockThatLeavesTheIndexIsFreeAfterItsLastReference) {
  BlockPool pool(1);
  const BlockId b = pool.take();
  pool.set_indexed(b);
  pool.clear_indexed(b);
  EXPECT_EQ(pool.used_blocks(), 1);
  pool.release(b);
  EXPECT_EQ(pool.free_blocks(), 1);
  EXPECT_EQ(pool.evictable_blocks(), 0);
}

TEST(BlockPoolDeathTest, RejectsAReferenceToAFreeBlock) {
  BlockPool pool(2);
  EXPECT_DEATH(pool.retain(0), "check failed");
  EXPECT_DEATH(pool.release(0), "check failed");
  EXPECT_DEATH(pool.retain(2), "check failed");
}

TEST(BlockTable, OwnsItsBlocksAndReleasesTheDeepestFirst) {
  BlockPool pool(3);
  {
    BlockTable table(&pool);
    for (int i = 0; i < 3; i++) {
      table.append(pool.take());
      pool.set_indexed(table[i]);
    }
    BlockTable moved(std::move(table));
    EXPECT_EQ(table.size(), 0);
    EXPECT_EQ(moved.size(), 3);
    EXPECT_EQ(pool.used_blocks(), 3);
  }
  EXPECT_EQ(pool.evictable_blocks(), 3);
  EXPECT_EQ(pool.next_evictable(), 2);
}

TEST(BlockTable, LeavesHolesBeforeTheWindow) {
  BlockPool pool(4);
  BlockTable table(&pool);
  for (int i = 0; i < 4; i++) table.append(pool.take());
  table.drop_before(2);
  table.drop_before(1);  // nothing more
  EXPECT_EQ(table[0], kHole);
  EXPECT_EQ(table[1], kHole);
  EXPECT_EQ(table[2], 2);
  EXPECT_EQ(pool.free_blocks(), 2);
  table.drop_before(9);
  EXPECT_EQ(table.size(), 4);
  EXPECT_EQ(pool.free_blocks(), 4);
}

TEST(BlockTable, ReplacesADuplicate) {
  BlockPool pool(2);
  BlockTable mine(&pool), other(&pool);
  mine.append(pool.take());
  other.append(pool.take());
  mine.replace(0, other[0]);
  EXPECT_EQ(mine[0], other[0]);
  EXPECT_EQ(pool.refs(other[0]), 2);
  EXPECT_EQ(pool.free_blocks(), 1);
}

}  // namespace
}  // namespace xylem
