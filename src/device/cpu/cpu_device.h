// The CPU as a device: host memory on huge pages, one thread pool, one instruction set chosen at start.
#pragma once
#include <algorithm>
#include <string_view>

#include "base/result.h"
#include "device/cpu/thread_pool.h"
#include "device/op.h"

namespace xylem {

// Each includes the ones before it.
enum class Isa : uint8_t { kScalar, kAvx2 /* + FMA, F16C */, kAvx512 /* F, BW, DQ, VL */, kAvx512Bf16 /* + BF16, VNNI */ };
const char* isa_name(Isa isa);
Isa best_isa();                               // of this machine
Result<Isa> parse_isa(std::string_view name); // "auto", "scalar", "avx2", "avx512", "avx512_bf16"; an error when the machine lacks it

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads = 1, Isa isa = best_isa()) : Device(Dev::kCpu), pool_(threads), isa_(isa) {}
  ~CpuDevice() override;
  void* alloc(size_t bytes) override;         // 64-byte aligned; large ones mapped, on huge pages where the system has them
  void free(void* p, size_t bytes) override;
  ThreadPool& pool() { return pool_; }
  Isa isa() const { return isa_; }
  // Memory for the running kernel, valid until the next kernel starts; 64-byte aligned. Grows, never shrinks.
  // Called before a parallel region, not in it.
  void* scratch(size_t bytes);

 private:
  ThreadPool pool_;
  Isa isa_;
  void* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
};

inline CpuDevice& cpu(Device& d) { return static_cast<CpuDevice&>(d); }
inline Isa cpu_isa(const Device& d) { return static_cast<const CpuDevice&>(d).isa(); }
template <Isa kIsa, class A>
bool has_isa(const A&, const Device& d) { return cpu_isa(d) >= kIsa; }

// Runs f over rows: on one thread when the work is too small to pay for waking others.
// elements: how many numbers are touched, all rows together.
template <class F>
void parallel_rows(Device& d, int64_t rows, int64_t elements, F&& f) {
  ThreadPool& pool = cpu(d).pool();
  constexpr int64_t kPerThread = 16384;  // a few microseconds of work, the price of a region
  const int n = int(std::min<int64_t>({int64_t(pool.size()), rows, std::max<int64_t>(1, elements / kPerThread)}));
  pool.run(n, [&](CpuThread t) {
    const auto r = t.range(rows);
    if (r.begin < r.end) f(r.begin, r.end);
  });
}

}  // namespace xylem
