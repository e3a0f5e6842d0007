// What this machine can do at most, to set figures against. Machines that share memory or cores with others change from
// one second to the next: probe right before and right after what is compared.
#pragma once
#include "device/cpu/cpu_device.h"

namespace xylem {

// Each probe runs on all threads of the device, with the best instructions the device may use, for about 0.1 s.
class Roof {
 public:
  static constexpr size_t kDefaultBytes = size_t(1) << 30;  // well beyond any last-level cache
  explicit Roof(CpuDevice& d, size_t read_bytes = kDefaultBytes);
  explicit operator bool() const { return bool(memory_); }  // false: no memory for the read probe
  double read_gbs();     // GB/s of reading memory on huge pages, the median of several passes
  double bf16_gflops();  // products of bfloat16 pairs; float32 where the device has none
  double f32_gflops();

 private:
  CpuDevice& device_;
  Buffer memory_;
};

// The inner loops, each for one thread. They return something that depends on all the work.
struct RoofLoops {
  float (*read)(const std::byte* p, size_t bytes);  // bytes % 1024 == 0
  float (*bf16)(int64_t rounds);                    // null where there is no such instruction
  float (*f32)(int64_t rounds);
  double bf16_flops, f32_flops;  // of one round
};
RoofLoops roof_loops(Isa isa);

}  // namespace xylem
