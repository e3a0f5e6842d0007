// Op calls of a device that run on the host, for ops that the device has no kernel of: slow, but right.
#pragma once
#include <cstddef>
#include <vector>

#include "device/op.h"

namespace xylem {

inline constexpr const char* kHostKernel = "host";  // the name of these kernels

// Copies of the memory that tensors span, on the host. Tensors that overlap on the device overlap here.
class HostCopies {
 public:
  explicit HostCopies(Device& device) : device_(device) {}
  HostCopies(const HostCopies&) = delete;
  ~HostCopies();
  void add(const Tensor& t, bool written);  // all of them before fetch()
  Status fetch();                           // from the device
  void* at(void* device) const;             // where the host has what lies there
  void give_back();                         // to the device, what is written

 private:
  struct Span {
    std::byte *begin, *end;                 // on the device
    bool written;
    std::byte* host;
  };
  Device& device_;
  std::vector<Span> spans_;                 // apart and ascending after fetch()
};

template <class A>
void run_on_host(const A& a, Device& d) {
  A on_host = a;
  HostCopies copies(d);
  auto read = [&](Tensor& t) { copies.add(t, false); };
  auto write = [&](Tensor& t) { copies.add(t, true); };
  on_host.fields(read, write, write);
  if (Status s = copies.fetch(); !s.ok()) return d.fail(s.error());
  auto move = [&](Tensor& t) { if (t.data && t.bytes()) t.data = copies.at(t.data); };
  on_host.fields(move, move, move);
  select_kernel(on_host, *d.fallback()).run(on_host, *d.fallback());
  copies.give_back();
}

// Below every kernel of the device itself.
template <class A>
const Kernel<A>* register_fallback() {
  static const Kernel<A> k(Dev::kOpenCl, kHostKernel, -1, [](const A&, const Device& d) { return d.fallback() != nullptr; }, run_on_host<A>);
  return &k;
}

}  // namespace xylem
