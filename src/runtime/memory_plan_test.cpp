// Sizes of the cache, for models that keep states.
#include "runtime/memory_plan.h"

#include <gtest/gtest.h>

namespace xylem {
namespace {

constexpr int64_t kMiB = 1 << 20;

class Layout final : public Model {
 public:
  explicit Layout(CacheLayout layout) : layout_(std::move(layout)) {}
  const CacheLayout& caches() const override { return layout_; }
  std::vector<Param> params() override { return {}; }
  Tensor forward(Ctx&) const override { return {}; }
  int64_t vocab_size() const override { return 1000; }
  int64_t max_context() const override { return 32768; }
  std::vector<std::string> prefixes() const override { return {""}; }

 private:
  CacheLayout layout_;
};

Layout full_only() {
  CacheLayout layout(2);
  layout.kv(4, 256);
  return Layout(layout);
}
Layout with_states() {  // 3 x 16 MiB, beside 4 KiB for each token
  CacheLayout layout(2);
  layout.kv(4, 256);
  for (int i = 0; i < 3; i++) layout.state(size_t(16 * kMiB));
  return Layout(layout);
}
EngineConfig config(int64_t kv_mib) {
  EngineConfig c;
  c.kv_memory_bytes = kv_mib * kMiB;
  c.chunked_prefill_size = 512;
  return c;
}
Result<MemoryPlan> plan(const EngineConfig& c, const Model& m) { return plan_memory(c, m, 1000000, 2, {1 << 29}); }

TEST(MemoryPlan, StatesLowerTheDefaultNumberOfRequests) {
  const Layout m = with_states();
  const Result<MemoryPlan> p = plan(config(1024), m);
  ASSERT_TRUE(p.ok()) << p.error().text;
  EXPECT_EQ(p->snapshot_interval, 256);
  EXPECT_EQ(p->state_bytes, 48 * kMiB);
  EXPECT_EQ(p->max_running, 6);  // 512 MiB are 10 states, 4 of them snapshots of a chunk
  EXPECT_GE(p->pool_blocks[1], 10);
  EXPECT_LE(p->kv_bytes, 1024 * kMiB);
  EXPECT_GT(p->max_total_tokens, 16384);
  EXPECT_EQ(plan(config(100000), m)->max_running, 64);
  EXPECT_EQ(plan(config(300), m)->max_running, 1);
  EXPECT_EQ(plan(config(1024), full_only())->max_running, 64);
}

TEST(MemoryPlan, WithoutThePrefixCacheThereAreLiveStatesOnly) {
  EngineConfig c = config(1024);
  c.disable_radix_cache = true;
  const Result<MemoryPlan> p = plan(c, with_states());
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p->max_running, 10);
  EXPECT_EQ(p->pool_blocks[1], 10);
}

TEST(MemoryPlan, MoreMemoryKeepsMorePrefixes) {
  EngineConfig c = config(1024);
  c.max_running_requests = 4;
  const int few = plan(c, with_states())->pool_blocks[1];
  c.kv_memory_bytes *= 2;
  EXPECT_GT(plan(c, with_states())->pool_blocks[1], few);
}

TEST(MemoryPlan, ANumberOfRequestsWhoseStatesDoNotFitIsAnError) {
  EngineConfig c = config(1024);
  c.max_running_requests = 40;
  const Result<MemoryPlan> p = plan(c, with_states());
  ASSERT_FALSE(p.ok());
  EXPECT_NE(p.error().text.find("--max-running-requests"), std::string::npos) << p.error().text;
}

TEST(MemoryPlan, TheSnapshotIntervalIsAMultipleOfThePageSize) {
  const Layout m = with_states();
  EngineConfig c = config(1024);
  c.page_size = 64;
  c.state_snapshot_interval = 192;
  EXPECT_EQ(plan(c, m)->snapshot_interval, 192);
  for (int wrong : {100, -64, 1, 2147483647}) {
    c.state_snapshot_interval = wrong;
    const Result<MemoryPlan> p = plan(c, m);
    ASSERT_FALSE(p.ok()) << wrong;
    EXPECT_NE(p.error().text.find("--state-snapshot-interval " + std::to_string(wrong)), std::string::npos)
        << p.error().text;
    EXPECT_EQ(plan(c, full_only())->snapshot_interval, 0);  // not used there
  }
}

}  // namespace
}  // namespace xylem
