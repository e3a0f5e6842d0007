// What the benches of OpenCL devices share: their command lines, and the roof that figures stand beside.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/opencl/opencl_device.h"

namespace xylem {

// Pairs "--name value", and words between them. Each option is taken by whoever knows it; what is left ends the program.
class CommandLine {
 public:
  CommandLine(int argc, char** argv) {
    for (int i = 1; i < argc; i++) {
      const std::string s = argv[i];
      if (!s.starts_with("--")) words_.push_back(s);
      else if (i + 1 < argc) options_[s] = argv[++i];
      else refuse(s);
    }
  }
  void take(const char* name, std::string& to) {
    if (const auto it = options_.find(name); it != options_.end()) to = it->second, options_.erase(it);
  }
  template <class T>
  void take(const char* name, T& to, T least = 0) {
    std::string text;
    take(name, text);
    if (!text.empty()) to = std::max(least, T(std::atoll(text.c_str())));
  }
  // bf16, f8 or mxfp4.
  void take(const char* name, DType& to) {
    std::string text;
    take(name, text);
    if (!text.empty()) to = text == "mxfp4" ? DType::kMxfp4 : text == "f8" ? DType::kF8E4M3 : DType::kBF16;
  }
  std::vector<std::string> words() {
    if (!options_.empty()) refuse(options_.begin()->first);
    return words_;
  }
  // --device N, opened.
  std::unique_ptr<OpenClDevice> device() {
    int n = 0;
    take("--device", n, -1);
    const std::vector<OpenClInfo> all = opencl_devices();
    if (size_t(n) >= all.size()) std::fprintf(stderr, "there is no OpenCL device %d\n", n), std::exit(2);
    auto device = OpenClDevice::open(all[size_t(n)]);
    if (!device.ok()) std::fprintf(stderr, "%s\n", device.error().text.c_str()), std::exit(1);
    std::printf("%s, %d compute units, %d work-groups of phases\n", all[size_t(n)].name.c_str(), all[size_t(n)].compute_units, (*device)->info().phase_groups);
    return std::move(*device);
  }

 private:
  [[noreturn]] static void refuse(const std::string& option) {
    std::fprintf(stderr, "there is no option %s, or it has no value\n", option.c_str());
    std::exit(2);
  }
  std::map<std::string, std::string> options_;
  std::vector<std::string> words_;
};

inline double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds of a call among many, one after the other, that are waited for at the end: the best of five runs.
inline double chain_seconds(OpenClDevice& d, const std::function<void()>& call) {
  call();
  if (const Status s = d.sync(); !s.ok()) return std::printf("%s\n", s.error().text.c_str()), 1e9;
  double start = now();
  call();
  d.sync_queue();
  const int calls = std::clamp(int(0.03 / (now() - start)), 2, 1000);
  double best = 1e9;
  for (int run = 0; run < 5; run++) {
    start = now();
    for (int i = 0; i < calls; i++) call();
    d.sync_queue();
    best = std::min(best, (now() - start) / calls);
  }
  return best;
}

// Kernels that only read, or read and write.
class MemoryRoof {
 public:
  explicit MemoryRoof(OpenClDevice& d) : device_(d) {
    const Result<cl_program> program = d.program_from("roof", kSource, "");
    CHECK(program.ok());
    read_ = d.new_kernel(*program, "read_all"), copy_ = d.new_kernel(*program, "copy_all");
    CHECK(read_ && copy_);
  }
  ~MemoryRoof() {
    device_.sync_queue();
    clReleaseKernel(read_), clReleaseKernel(copy_);
  }
  MemoryRoof(const MemoryRoof&) = delete;
  void read(void* from, size_t bytes, void* scrap) { launch(read_, from, bytes, scrap); }  // scrap: 16 bytes
  void copy(void* from, size_t bytes, void* to) { launch(copy_, from, bytes, to); }

 private:
  static constexpr const char* kSource = R"(
#define LOADS 8
__attribute__((reqd_work_group_size(256, 1, 1))) __kernel void read_all(const __global uint4* from, ulong n, __global uint4* to) {
  uint4 sum = (uint4)(0u);
  for (ulong at = (get_group_id(0) * LOADS) * 256 + get_local_id(0); at < n; at += get_num_groups(0) * LOADS * 256) {
    uint4 v[LOADS];
    _Pragma("unroll") for (int i = 0; i < LOADS; i++) v[i] = from[min(at + i * 256, n - 1)];
    _Pragma("unroll") for (int i = 0; i < LOADS; i++) sum ^= v[i];
  }
  if (sum.x == 0x12345678u && sum.y == 0x9abcdef0u && sum.z == 0x13579bdfu) to[0] = sum;
}
__attribute__((reqd_work_group_size(256, 1, 1))) __kernel void copy_all(const __global uint4* from, ulong n, __global uint4* to) {
  for (ulong at = (get_group_id(0) * LOADS) * 256 + get_local_id(0); at < n; at += get_num_groups(0) * LOADS * 256) {
    uint4 v[LOADS];
    _Pragma("unroll") for (int i = 0; i < LOADS; i++) v[i] = from[min(at + i * 256, n - 1)];
    _Pragma("unroll") for (int i = 0; i < LOADS; i++) if (at + i * 256 < n) to[at + i * 256] = v[i];
  }
}
)";
  void launch(cl_kernel k, void* from, size_t bytes, void* to) {
    const uint64_t n = bytes / 16;
    const size_t groups = size_t(std::clamp<uint64_t>(n / 2048, 1, uint64_t(device_.info().compute_units) * 16));
    device_.bind_arguments(k, from, n, to);
    device_.allow_all_memory(k);
    device_.enqueue_bound(k, {{groups, 1, 1}, 256});
  }
  OpenClDevice& device_;
  cl_kernel read_ = nullptr, copy_ = nullptr;
};

}  // namespace xylem
