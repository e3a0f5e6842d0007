#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <functional>
#include <latch>
#include <string>

#include "server/memory_budget.h"

namespace xylem {
namespace {

struct Job : PoolJob {
  explicit Job(std::function<void(size_t)> f) : f(std::move(f)) {}
  void run(size_t piece) noexcept override { f(piece); }
  std::function<void(size_t)> f;
};

std::shared_ptr<Job> job(std::function<void(size_t)> f) { return std::make_shared<Job>(std::move(f)); }

TEST(WorkerPool, RunsEveryPieceOnce) {
  WorkerPool pool(3, 10);
  std::mutex mu;
  std::multiset<size_t> seen;
  std::latch done(100);
  ASSERT_TRUE(pool.submit(job([&](size_t piece) {
                            {
                              std::lock_guard lock(mu);
                              seen.insert(piece);
                            }
                            done.count_down();
                          }),
                          100)
                  .ok());
  done.wait();
  ASSERT_EQ(seen.size(), 100u);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(seen.count(i), 1u);
}

// One thread, held while the queue fills: what runs then has one order.
TEST(WorkerPool, JobsTakeTurnsAndDroppedOnesEnd) {
  WorkerPool pool(1, 3);
  std::latch begun(1), go(1), done(4);
  std::string order;
  ASSERT_TRUE(pool.submit(job([&](size_t) { begun.count_down(), go.wait(); }), 1).ok());
  begun.wait();
  const auto letter = [&](char c) { return job([&, c](size_t) { order += c, done.count_down(); }); };
  const auto dropped = letter('x');
  ASSERT_TRUE(pool.submit(letter('a'), 3).ok());
  ASSERT_TRUE(pool.submit(dropped, 5).ok());
  ASSERT_TRUE(pool.submit(letter('b'), 1).ok());
  const Status full = pool.submit(letter('c'), 1);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, Code::kUnavailable);
  pool.drop(*dropped);
  EXPECT_EQ(pool.waiting(), 2u);
  EXPECT_EQ(dropped.use_count(), 1);
  go.count_down();
  done.wait();
  EXPECT_EQ(order, "abaa");
}

TEST(WorkerPool, StopDropsWhatWaits) {
  WorkerPool pool(1, 10);
  std::latch begun(1), go(1);
  int ran = 0;
  ASSERT_TRUE(pool.submit(job([&](size_t) { ++ran, begun.count_down(), go.wait(); }), 1).ok());
  ASSERT_TRUE(pool.submit(job([&](size_t) { ++ran; }), 4).ok());
  begun.wait();
  std::thread stopper([&] { pool.stop(); });
  while (pool.waiting() > 0) std::this_thread::yield();
  go.count_down();
  stopper.join();
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(pool.submit(job([](size_t) {}), 1).ok());
}

TEST(MemoryBudget, LeasesGiveBackWhatTheyTook) {
  MemoryBudget budget(100);
  {
    MemoryLease a(budget), b(budget);
    EXPECT_TRUE(a.grow(60));
    EXPECT_FALSE(b.grow(41));
    EXPECT_TRUE(b.grow(40));
    MemoryLease c = std::move(a);
    EXPECT_EQ(budget.used(), 100);
    c = MemoryLease();
    EXPECT_EQ(budget.used(), 40);
  }
  EXPECT_EQ(budget.used(), 0);
}

}  // namespace
}  // namespace xylem
