#include "device/op.h"

#include <cstdio>
#include <map>

namespace xylem {

std::vector<KernelInfo>& kernel_list() {
  static std::vector<KernelInfo> v;
  return v;
}

const char* forced_kernel(const char* op) {
  static const std::map<std::string, std::string> forced = [] {
    std::map<std::string, std::string> m;
    const char* env = std::getenv("XYLEM_KERNEL");
    std::string_view s = env ? env : "";
    while (!s.empty()) {
      const size_t comma = std::min(s.find(','), s.size());
      const std::string_view item = s.substr(0, comma);
      const size_t colon = item.find(':');
      if (colon != item.npos) m.emplace(item.substr(0, colon), item.substr(colon + 1));
      s.remove_prefix(std::min(comma + 1, s.size()));
    }
    return m;
  }();
  const auto it = forced.find(op);
  return it == forced.end() ? nullptr : it->second.c_str();
}

void no_kernel(const char* op, Dev dev) {
  const char* name = dev == Dev::kRef ? "reference" : dev == Dev::kCpu ? "cpu" : "opencl";
  std::fprintf(stderr, "no kernel of op '%s' runs this call on device '%s'%s\n", op, name,
               forced_kernel(op) ? " (XYLEM_KERNEL forces one that does not support it)" : "");
  std::abort();
}

}  // namespace xylem
