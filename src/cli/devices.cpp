#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <sched.h>

#include "cli/commands.h"
#include "cli/kernels.h"
#include "cli/setup.h"
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

// The extensions that change what the backend does.
std::string extensions_of(const OpenClInfo& d) {
  std::string out;
  for (const char* name : {"cl_intel_subgroups", "cl_intel_required_subgroup_size", "cl_intel_subgroup_matrix_multiply_accumulate", "cl_intel_subgroup_2d_block_io",
                           "cl_intel_bfloat16_conversions", "cl_intel_unified_shared_memory", "cl_khr_command_buffer", "cl_nv_compiler_options", "cl_nv_device_attribute_query"})
    if (d.extensions.find(std::string(" ") + name + " ") != std::string::npos) out += (out.empty() ? "" : ", ") + std::string(name);
  return out.empty() ? "none that change anything here" : out;
}

// Of an open device: what it promises has been tested by then.
void print_use(const OpenClInfo& d) {
  const char* lanes = d.lanes == LaneMode::kIntel ? "Intel's sub-groups" : d.lanes == LaneMode::kNvidia ? "warp shuffles" : "emulated lanes";
  const char* matrix = d.matrix ? "DPAS" : d.lanes == LaneMode::kNvidia ? "mma.sync" : "no matrix instructions";
  fmt::print("  kernels use   {} of {}, {}, {}\n", lanes, d.sub_group, matrix, d.usm ? "unified shared memory" : "shared virtual memory");
  fmt::print("  steps replay  {}{}\n", d.command_buffers ? "one command buffer" : "launches with their arguments bound", d.phase_groups > 0 ? fmt::format(", neighbours joined into persistent ones of {} work-groups", d.phase_groups) : "");
  if (!d.doubt.empty()) fmt::print("  doubtful      {}\n", d.doubt);
}

void print_opencl(const OpenClInfo& d) {
  fmt::print("opencl:{}: {} ({})\n", d.index, d.name, d.vendor);
  fmt::print("  kind          {}{}, {} compute units\n", !d.gpu ? "processor" : d.integrated ? "integrated GPU" : "discrete GPU", d.intel ? ", what --device xpu looks for" : "", d.compute_units);
  fmt::print("  driver        {}, {}\n", d.driver, d.version);
  fmt::print("  memory        {}, at most {} in one piece; {} local\n", format_bytes(double(d.memory_bytes)), format_bytes(double(d.max_alloc_bytes)),
             format_bytes(double(d.local_bytes)));
  fmt::print("  extensions    {}\n", extensions_of(d));
  const auto device = OpenClDevice::open(d);
  if (device.ok()) print_use((*device)->info());
  else fmt::print("  not usable    {}\n", d.problem.empty() ? device.error().text : d.problem);
}

double kib_of(const std::string& key) { return std::atof(proc_value("/proc/meminfo", key).c_str()) * 1024; }

}  // namespace

std::string kernel_dump() {
  std::vector<std::string> lines;
  for (const KernelInfo& k : kernel_list())
    lines.push_back(fmt::format("{} {} {}\n", k.op, dev_name(k.dev), k.name));
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
  setup_log("error");
  const std::vector<OpenClInfo> list = opencl_devices();
  for (const OpenClInfo& d : list) print_opencl(d);
  if (list.empty()) fmt::print("no OpenCL devices: a GPU needs its driver (Debian's packages: intel-opencl-icd, nvidia-opencl-icd)\n");
  return {};
}

}  // namespace xylem
