// What the device gets of a step, for groups whose blocks are states.
#include "runtime/step.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

constexpr int kBlock = 16;

class StateStep : public testing::Test {
 protected:
  static CacheLayout make_layout() {
    CacheLayout layout(4);
    layout.kv(1, 8);
    layout.state(256);
    return layout;
  }
  static SchedulerConfig make_config(const CacheLayout& layout) {
    SchedulerConfig c;
    c.groups = layout.groups(), c.pool_blocks = {100, 20}, c.block_tokens = kBlock,
    c.state_snapshot_interval = 2 * kBlock;
    return c;
  }

  void submit(RequestId id, int tokens, TokenId first) {
    GenerateRequest& r = requests_[id];
    r.id = id, r.prompt.resize(size_t(tokens));
    std::iota(r.prompt.begin(), r.prompt.end(), first);
    NewRequest n;
    n.id = id, n.prompt = r.prompt, n.max_new_tokens = 20;
    sched_.submit(std::move(n));
  }
  StepPlan plan() {
    StepPlan p = sched_.plan(&events_);
    builder_.build(
        p, sched_, [&](RequestId id) -> const GenerateRequest& { return requests_.at(id); }, slab_);
    return p;
  }
  void commit(const StepPlan& p) {
    std::vector<TokenId> sampled;
    for (const Row& row : p.rows)
      if (row.sample) sampled.push_back(5);
    sched_.commit(p, sampled, &events_);
  }
  const Batch::Group& states() const { return slab_.batch.groups[1]; }
  int32_t state_in(int64_t b) const { return states().state_in.as<int32_t>()[b]; }
  int32_t table(int64_t b, int64_t i) const { return states().table.as<int32_t>()[b * states().table.stride[0] + i]; }
  std::vector<int> entries(int64_t b) const {  // those with a block
    std::vector<int> at;
    for (int64_t i = 0; i < states().table.dim[1]; i++)
      if (table(b, i) >= 0) at.push_back(int(i));
    return at;
  }

  const StepLimits limits_{600, 4, 8, 512, kBlock};
  CpuDevice device_{1};
  const CacheLayout layout_ = make_layout();
  Scheduler sched_{make_config(layout_)};
  std::vector<int32_t> tokens_ = std::vector<int32_t>(size_t(limits_.rows * (limits_.context + 1)));
  BatchBuilder builder_{limits_, layout_,
                        make_tensor(tokens_.data(), DType::kI32, {limits_.rows, limits_.context + 1})};
  StepSlab slab_{device_, limits_, layout_};
  std::map<RequestId, GenerateRequest> requests_;
  std::vector<Event> events_;
};

using Entries = std::vector<int>;

TEST_F(StateStep, ANewSequenceReadsNothingAndWritesItsSnapshotsAndItsEnd) {
  submit(1, 100, 1000);
  submit(2, 5, 2000);
  commit(plan());
  ASSERT_EQ(states().state_in.numel(), 2);
  EXPECT_EQ(state_in(0), -1);
  EXPECT_EQ(state_in(1), -1);
  EXPECT_EQ(entries(0), (Entries{1, 3, 5, 6}));  // after 32, 64, 96 and 100 tokens
  EXPECT_EQ(entries(1), (Entries{0}));
  EXPECT_EQ(states().slots.data, nullptr);
  EXPECT_NE(slab_.batch.groups[0].slots.data, nullptr);
  EXPECT_EQ(slab_.batch.groups[0].state_in.data, nullptr);
}

TEST_F(StateStep, DecodingWritesInPlaceUntilASnapshotIsReached) {
  submit(1, 126, 1000);
  commit(plan());
  const int32_t live = table(0, 7);
  commit(plan());  // [126, 127)
  EXPECT_EQ(state_in(0), live);
  EXPECT_EQ(entries(0), (Entries{7}));
  EXPECT_EQ(table(0, 7), live);
  const StepPlan reaches = plan();  // [127, 128): from now on a snapshot
  EXPECT_EQ(table(0, 7), live);
  const StepPlan leaves = plan();  // before the one before is committed
  EXPECT_EQ(leaves.rows[0].begin, 128);
  EXPECT_EQ(state_in(0), live);
  EXPECT_EQ(entries(0), (Entries{8}));  // the snapshot at its begin is not written again
  EXPECT_NE(table(0, 8), live);
  commit(reaches);
  commit(leaves);
}

TEST_F(StateStep, AHitIsReadAndNotWritten) {
  submit(1, 70, 1000);
  commit(plan());
  const int32_t snapshot = table(0, 3);
  submit(2, 70, 1000);
  const StepPlan p = plan();
  ASSERT_EQ(p.rows.size(), 2u);
  EXPECT_EQ(p.rows[1].begin, 64);
  EXPECT_EQ(state_in(1), snapshot);
  EXPECT_EQ(entries(1), (Entries{4}));
  EXPECT_NE(table(1, 4), snapshot);
  commit(p);
}

}  // namespace
}  // namespace xylem
