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

const char* dev_name(Dev dev) { return dev == Dev::kRef ? "ref" : dev == Dev::kCpu ? "cpu" : "opencl"; }

std::string call_text(const char* op, const std::vector<Tensor>& tensors) {
  std::string text = op;
  for (size_t i = 0; i < tensors.size() && i < 4; i++) {  // the first ones tell enough
    const Tensor& t = tensors[i];
    text += i ? ", [" : " of [";
    for (int r = 0; r < t.rank; r++) text += (r ? ", " : "") + std::to_string(t.dim[size_t(r)]);
    text += std::string("] ") + dtype_name(t.dtype);
  }
  return text;
}

void no_kernel(const char* op, Dev dev) {
  std::fprintf(stderr, "no kernel of op '%s' runs this call on device '%s'%s\n", op, dev_name(dev),
               forced_kernel(op) ? " (XYLEM_KERNEL forces one that does not support it)" : "");
  std::abort();
}

}  // namespace xylem
