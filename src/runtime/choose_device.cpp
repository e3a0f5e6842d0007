#include "runtime/choose_device.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "base/log.h"
#include "device/opencl/opencl_device.h"

namespace xylem {
namespace {

Result<ChosenDevice> open(const OpenClInfo& info) {
  ChosenDevice c;
  TRY(std::unique_ptr<OpenClDevice> d, OpenClDevice::open(info));
  c.name = fmt::format("opencl:{} {}", info.index, info.name);
  c.memory_bytes = int64_t(info.memory_bytes), c.shared_memory = info.integrated;
  // With unified shared memory, pieces may be larger than what the driver names (OpenClDevice::alloc).
  c.max_piece_bytes = int64_t(d->info().usm ? info.memory_bytes : info.max_alloc_bytes);
  c.device = std::move(d);
  return c;
}

std::string listed(const std::vector<OpenClInfo>& list) {
  std::string s;
  for (const OpenClInfo& d : list) s += fmt::format("{}opencl:{} ({}{}{})", s.empty() ? "" : ", ", d.index, d.name, d.problem.empty() ? "" : ", not usable: ", d.problem);
  return s.empty() ? "there is no OpenCL device: install the driver of your GPU (Debian's packages: intel-opencl-icd for Intel, nvidia-opencl-icd for NVIDIA; pocl-opencl-icd "
                     "computes on the CPU)"
                   : "OpenCL devices: " + s;
}

// Intel GPUs, discrete ones first.
std::vector<const OpenClInfo*> intel_gpus(const std::vector<OpenClInfo>& list) {
  std::vector<const OpenClInfo*> gpus;
  for (const bool integrated : {false, true})
    for (const OpenClInfo& d : list)
      if (d.intel && d.integrated == integrated) gpus.push_back(&d);
  return gpus;
}

// The first one that works; those that do not are named.
std::optional<ChosenDevice> open_intel(const std::vector<OpenClInfo>& list, const std::string& wanted) {
  for (const OpenClInfo* d : intel_gpus(list)) {
    Result<ChosenDevice> c = open(*d);
    if (c.ok()) {
      log::info("--device {} takes opencl:{} {}: {} Intel GPU", wanted, d->index, d->name, d->integrated ? "an integrated" : "a discrete");
      return *std::move(c);
    }
    log::warn("--device {}: {}", wanted, c.error().text);
  }
  return {};
}

}  // namespace

Result<ChosenDevice> choose_device(const std::string& wanted) {
  if (wanted == "cpu") return ChosenDevice{};
  const std::vector<OpenClInfo> list = opencl_devices();
  if (wanted == "auto" || wanted == "xpu") {
    if (std::optional<ChosenDevice> c = open_intel(list, wanted)) return *std::move(c);
    const std::string why = "no Intel GPU is there that the backend can use; " + listed(list);
    if (wanted == "xpu") return not_found("--device xpu: " + why);
    log::info("--device auto takes the CPU: {}", why);
    return ChosenDevice{};
  }
  constexpr std::string_view kPrefix = "opencl:";
  int index = -1;
  const char* const end = wanted.data() + wanted.size();
  const bool number = wanted.starts_with(kPrefix) && std::from_chars(wanted.data() + kPrefix.size(), end, index).ptr == end;
  if (number && index >= 0 && size_t(index) < list.size()) return open(list[size_t(index)]);
  return not_found("--device '" + wanted + "' is not there: use auto, cpu, xpu or opencl:N; " + listed(list));
}

}  // namespace xylem
