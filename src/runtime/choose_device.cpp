#include "runtime/choose_device.h"

#include <fmt/format.h>

#include <charconv>

#include "base/log.h"
#include "device/opencl/opencl_device.h"

namespace xylem {
namespace {

Result<ChosenDevice> open(const OpenClInfo& info) {
  ChosenDevice c;
  TRY(c.device, OpenClDevice::open(info));
  c.name = fmt::format("opencl:{} {}", info.index, info.name);
  c.memory_bytes = info.memory_bytes, c.max_alloc_bytes = info.max_alloc_bytes;
  return c;
}

const OpenClInfo* first_intel(const std::vector<OpenClInfo>& list, bool integrated) {
  for (const OpenClInfo& d : list)
    if (d.intel && d.integrated == integrated && d.problem.empty()) return &d;
  return nullptr;
}

std::string listed(const std::vector<OpenClInfo>& list) {
  std::string s;
  for (const OpenClInfo& d : list) s += fmt::format("{}opencl:{} ({})", s.empty() ? "" : ", ", d.index, d.name);
  return s.empty() ? "there is no OpenCL device: install the driver of your GPU (Intel: intel-opencl-icd)" : "OpenCL devices: " + s;
}

}  // namespace

Result<ChosenDevice> choose_device(const std::string& wanted) {
  if (wanted == "cpu") return ChosenDevice{};
  const std::vector<OpenClInfo> list = opencl_devices();
  if (wanted == "auto" || wanted == "xpu") {
    const OpenClInfo* d = first_intel(list, false);
    if (!d) d = first_intel(list, true);
    if (d) {
      if (wanted == "auto") log::info("--device auto takes {}, {} Intel GPU", d->name, d->integrated ? "an integrated" : "a discrete");
      return open(*d);
    }
    if (wanted == "auto") return ChosenDevice{};
    return not_found("--device xpu: no Intel GPU is there that the backend can use; " + listed(list));
  }
  constexpr std::string_view kPrefix = "opencl:";
  int index = -1;
  const char* const end = wanted.data() + wanted.size();
  if (wanted.starts_with(kPrefix) && std::from_chars(wanted.data() + kPrefix.size(), end, index).ptr == end)
    for (const OpenClInfo& d : list)
      if (d.index == index) return open(d);
  return not_found("--device '" + wanted + "' is not there: use auto, cpu, xpu or opencl:N; " + listed(list));
}

}  // namespace xylem
