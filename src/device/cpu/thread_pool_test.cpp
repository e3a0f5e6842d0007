#include "device/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <string>

namespace xylem {
namespace {

TEST(ThreadPool, RunsEveryThreadOfARegionOnce) {
  for (int size : {1, 2, 5}) {
    ThreadPool pool(size);
    EXPECT_EQ(pool.size(), size);
    for (int n = 1; n <= size + 2; n++) {
      std::vector<std::atomic<int>> calls(8);
      pool.run(n, [&](CpuThread t) {
        EXPECT_EQ(t.n_threads, std::min(n, size));
        calls[size_t(t.thread)]++;
      });
      for (int i = 0; i < 8; i++) EXPECT_EQ(calls[size_t(i)], i < std::min(n, size)) << size << " " << n << " " << i;
    }
  }
}

TEST(ThreadPool, PlainMemoryIsSeenAcrossRegionsOfAnySize) {
  ThreadPool pool(4);
  std::mt19937 rng(1);
  std::vector<int64_t> sums(64, 0);  // neither atomic nor on lines of their own
  int64_t expect = 0;
  for (int i = 0; i < 3000; i++) {
    const int n = 1 + int(rng() % 4);
    pool.run(n, [&](CpuThread t) {
      const auto r = t.range(64);
      for (int64_t k = r.begin; k < r.end; k++) sums[size_t(k)] += k;
    });
    expect += 63 * 64 / 2;
    ASSERT_EQ(std::accumulate(sums.begin(), sums.end(), int64_t(0)), expect);
  }
}

TEST(ThreadPool, ItemsAreTakenOnceAndTheCounterStartsAtZero) {
  ThreadPool pool(3);
  for (int n : {3, 1, 2, 1, 3}) {
    std::vector<int> taken(500, 0);
    pool.run(n, [&](CpuThread t) {
      for (int64_t i; (i = t.pool->next_item().fetch_add(1)) < 500;) taken[size_t(i)]++;
    });
    EXPECT_EQ(std::count(taken.begin(), taken.end(), 1), 500);
  }
}

TEST(ThreadPool, BarrierSeparatesPhases) {
  ThreadPool pool(4);
  for (int n = 1; n <= 4; n++) {
    std::vector<int> value(4, 0);
    pool.run(n, [&](CpuThread t) {
      for (int phase = 1; phase <= 200; phase++) {
        value[size_t(t.thread)] = phase;
        t.barrier();
        for (int i = 0; i < t.n_threads; i++) EXPECT_EQ(value[size_t(i)], phase);
        t.barrier();
      }
    });
  }
}

TEST(ThreadPool, WakesWorkersThatSleep) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  for (int pause_us : {0, 500, 1500, 3000, 6000}) {
    std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
    for (int n : {2, 3, 2}) pool.run(n, [&](CpuThread) { calls++; });
  }
  EXPECT_EQ(calls, 5 * 7);
}

TEST(ThreadPool, MoreThreadsThanCoresMakeProgress) {
  ThreadPool pool(24);
  std::atomic<int> calls{0};
  for (int i = 0; i < 50; i++)
    pool.run(24, [&](CpuThread t) {
      calls++;
      t.barrier();
    });
  EXPECT_EQ(calls, 50 * 24);
}

// Threads of this process that the kernel would run if it could.
int runnable_threads() {
  int n = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "stat");
    std::string stat((std::istreambuf_iterator<char>(file)), {});
    const size_t name_end = stat.rfind(')');  // "id (name) STATE ..."
    n += name_end != stat.npos && name_end + 2 < stat.size() && stat[name_end + 2] == 'R';
  }
  return n;
}

TEST(ThreadPool, IdleWorkersSleep) {
  ThreadPool pool(4);
  pool.run(4, [](CpuThread) {});
  // However long it takes on a busy machine: in the end only this thread runs.
  while (runnable_threads() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::atomic<int> woken{0};
  pool.run(4, [&](CpuThread) { woken++; });
  EXPECT_EQ(woken, 4);
}

TEST(CpuThread, RangesCoverInMultiplesOfTheUnit) {
  for (int n_threads : {1, 2, 3, 7})
    for (int64_t n : {0, 1, 5, 16, 100}) {
      int64_t at = 0;
      for (int i = 0; i < n_threads; i++) {
        const auto r = CpuThread{i, n_threads, nullptr}.range(n, 16);
        EXPECT_EQ(r.begin, at);
        EXPECT_TRUE(r.begin % 16 == 0 || r.begin == n);
        at = r.end;
      }
      EXPECT_EQ(at, n);
    }
}

}  // namespace
}  // namespace xylem
