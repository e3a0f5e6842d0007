#include "device/fallback.h"

#include <algorithm>
#include <cstdlib>

namespace xylem {
namespace {

constexpr size_t kAlign = 64;

}  // namespace

HostCopies::~HostCopies() {
  for (const Span& s : spans_) std::free(s.host);
}

void HostCopies::add(const Tensor& t, bool written) {
  auto* p = static_cast<std::byte*>(t.data);
  if (p && t.bytes()) spans_.push_back({p, p + t.bytes(), written, nullptr});
}

Status HostCopies::fetch() {
  std::sort(spans_.begin(), spans_.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  std::vector<Span> merged;
  for (const Span& s : spans_) {
    if (merged.empty() || s.begin >= merged.back().end) merged.push_back(s);
    else merged.back().end = std::max(merged.back().end, s.end), merged.back().written |= s.written;
  }
  spans_ = std::move(merged);
  for (Span& s : spans_) {
    // The same place within a line as on the device, since kernels ask for alignment.
    const size_t bytes = size_t(s.end - s.begin), shift = reinterpret_cast<uintptr_t>(s.begin) % kAlign;
    s.host = static_cast<std::byte*>(std::aligned_alloc(kAlign, (bytes + shift + kAlign - 1) / kAlign * kAlign));
    if (!s.host) return no_capacity("the host has no " + std::to_string(bytes) + " bytes for the copy of an operation that runs there (--allow-fallback)");
    device_.copy_out(s.host + shift, s.begin, bytes);
  }
  return {};
}

void* HostCopies::at(void* device) const {
  const auto* p = static_cast<std::byte*>(device);
  const auto s = std::find_if(spans_.begin(), spans_.end(), [&](const Span& x) { return p >= x.begin && p < x.end; });
  CHECK(s != spans_.end());
  return s->host + reinterpret_cast<uintptr_t>(s->begin) % kAlign + (p - s->begin);
}

void HostCopies::give_back() {
  for (const Span& s : spans_)
    if (s.written) device_.copy_in(s.begin, s.host + reinterpret_cast<uintptr_t>(s.begin) % kAlign, size_t(s.end - s.begin));
}

}  // namespace xylem
