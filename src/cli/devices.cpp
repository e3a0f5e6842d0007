#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <sched.h>

#include "cli/commands.h"
#include "cli/kernels.h"
#include "device/cpu/cpu_device.h"
#include "device/opencl/opencl_device.h"

namespace xylem {
namespace {

// The value of "key : value" in a file of /proc; empty when there is none.
std::string proc_value(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

int usable_cpus() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : int(std::thread::hardware_concurrency());
}

void print_opencl(const OpenClInfo& d) {
  fmt::print("opencl:{}: {} ({})\n", d.index, d.name, d.vendor);
  fmt::print("  driver        {}, {}\n", d.driver, d.version);
  fmt::print("  memory        {}, at most {} in one piece; {} local\n", format_bytes(double(d.memory_bytes)), format_bytes(double(d.max_alloc_bytes)),
             format_bytes(double(d.local_bytes)));
  if (!d.problem.empty()) {
    fmt::print("  not usable    {}\n", d.problem);
    return;
  }
  const char* lanes = d.lanes == LaneMode::kIntel ? "Intel's sub-groups" : d.lanes == LaneMode::kNvidia ? "warp shuffles" : "emulated lanes";
  fmt::print("  kernels use   {} of {}, {}, {}\n", lanes, d.sub_group, d.matrix ? "DPAS" : "no matrix instructions", d.usm ? "unified shared memory" : "shared virtual memory");
}

double kib_of(const std::string& key) { return std::atof(proc_value("/proc/meminfo", key).c_str()) * 1024; }

}  // namespace

std::string kernel_dump() {
  std::vector<std::string> lines;
  for (const KernelInfo& k : kernel_list())
    lines.push_back(fmt::format("{} {} {}\n", k.op, k.dev == Dev::kRef ? "ref" : k.dev == Dev::kCpu ? "cpu" : "opencl", k.name));
  std::sort(lines.begin(), lines.end());
  std::string out;
  for (const std::string& line : lines) out += line;
  return out;
}

Status devices(DevicesOptions o) {
  if (o.kernels) {
    std::fputs(kernel_dump().c_str(), stdout);
    return {};
  }
  std::string name = proc_value("/proc/cpuinfo", "model name");
  if (name.empty()) name = "unknown processor";
  fmt::print("cpu: {}\n", name);
  fmt::print("  cores usable  {}\n", usable_cpus());
  std::string known;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16})
    if (isa <= best_isa()) known += (known.empty() ? "" : ", ") + std::string(isa_name(isa));
  fmt::print("  kernels for   {} (the last is used; --isa forces one)\n", known);
  fmt::print("  memory        {} of {} available\n", format_bytes(kib_of("MemAvailable")), format_bytes(kib_of("MemTotal")));
  for (const OpenClInfo& d : opencl_devices()) print_opencl(d);
  return {};
}

}  // namespace xylem
