#include "device/cpu/roof.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

namespace xylem {
namespace {

double seconds_since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

std::atomic<float> sink;  // keeps the loops alive

// Per second, all threads together: the best of a few short runs, because a peak is not an average.
double peak(CpuDevice& d, float (*loop)(int64_t), double flops) {
  constexpr int64_t kRounds = 2'000'000;
  double best = 0;
  for (int i = 0; i < 5; i++) {
    const auto start = std::chrono::steady_clock::now();
    d.pool().run(d.pool().size(), [&](CpuThread) { sink.store(loop(kRounds), std::memory_order_relaxed); });
    best = std::max(best, flops * double(kRounds) * d.pool().size() / seconds_since(start));
  }
  return best / 1e9;
}

}  // namespace

Roof::Roof(CpuDevice& d, size_t read_bytes) : device_(d), memory_(d, read_bytes) {
  if (!memory_) return;
  d.pool().run(d.pool().size(), [&](CpuThread t) {
    const auto r = t.range(int64_t(read_bytes), 4096);
    std::memset(static_cast<std::byte*>(memory_.data()) + r.begin, 1, size_t(r.end - r.begin));
  });
}

double Roof::read_gbs() {
  const RoofLoops loops = roof_loops(device_.isa());
  std::vector<double> runs;
  for (int i = 0; i < 3; i++) {
    const auto start = std::chrono::steady_clock::now();
    device_.pool().run(device_.pool().size(), [&](CpuThread t) {
      const auto r = t.range(int64_t(memory_.bytes()), 4096);
      sink.store(loops.read(static_cast<const std::byte*>(memory_.data()) + r.begin, size_t(r.end - r.begin)),
                 std::memory_order_relaxed);
    });
    runs.push_back(double(memory_.bytes()) / seconds_since(start) / 1e9);
  }
  std::sort(runs.begin(), runs.end());
  return runs[runs.size() / 2];
}

double Roof::bf16_gflops() {
  const RoofLoops loops = roof_loops(device_.isa());
  return loops.bf16 ? peak(device_, loops.bf16, loops.bf16_flops) : f32_gflops();
}

double Roof::f32_gflops() {
  const RoofLoops loops = roof_loops(device_.isa());
  return peak(device_, loops.f32, loops.f32_flops);
}

}  // namespace xylem
