// An op call is a value: a trivially copyable struct of tensors and scalars with a name and a list of its tensors.
// A kernel is one way to run it on one device. Capture, shadow checking, tracing and parity tests all use that value.
#pragma once
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "device/device.h"

namespace xylem {

// fields(in, inout, out): calls each with the op's tensors. Optional tensors have null data.
#define XYLEM_FIELDS(...)                              \
  void fields(auto&& in, auto&& inout, auto&& out) {   \
    (void)in, (void)inout, (void)out;                  \
    __VA_ARGS__;                                       \
  }

// Among the kernels of a device that support a call, the one with the highest priority runs. References (Dev::kRef) also
// serve the CPU device, below everything else.
template <class A>
struct Kernel {
  Dev dev;
  const char* name;
  int priority;
  bool (*supports)(const A&, const Device&);
  void (*run)(const A&, Device&);
  const char* limits;  // what supports() asks for, as a message says it: "heads of at most 1024 numbers"
  Kernel(Dev d, const char* n, int p, bool (*s)(const A&, const Device&), void (*r)(const A&, Device&), const char* l = "");
  static std::vector<const Kernel*>& all() {  // sorted by priority, highest first
    static std::vector<const Kernel*> v;
    return v;
  }
};

// Every registered kernel by name, for `xylem devices --kernels`, the golden dump and forcing.
struct KernelInfo { const char* op; const char* name; Dev dev; int priority; };
std::vector<KernelInfo>& kernel_list();
// XYLEM_KERNEL="op:name,op:name" forces kernels; null when this op is not forced. Read once.
const char* forced_kernel(const char* op);
const char* dev_name(Dev dev);
[[noreturn]] void no_kernel(const char* op, Dev dev);
// "rms_norm of x [4, 64] float32, ...": what a message says of a call that no kernel takes.
std::string call_text(const char* op, const std::vector<Tensor>& tensors);

template <class A>
Kernel<A>::Kernel(Dev d, const char* n, int p, bool (*s)(const A&, const Device&), void (*r)(const A&, Device&), const char* l)
    : dev(d), name(n), priority(p), supports(s), run(r), limits(l) {
  auto& v = all();
  auto it = v.begin();
  while (it != v.end() && (*it)->priority >= p) ++it;
  v.insert(it, this);
  kernel_list().push_back({A::kName, n, d, p});
}

// The kernel that runs this call; null if there is none. Looks at shapes, types and which tensors are there, not at numbers.
template <class A>
const Kernel<A>* find_kernel(const A& a, const Device& d) {
  static const char* const forced = forced_kernel(A::kName);
  const Kernel<A>* best = nullptr;
  for (const Kernel<A>* k : Kernel<A>::all()) {
    if (k->dev != d.kind() && !(k->dev == Dev::kRef && d.kind() == Dev::kCpu)) continue;
    if (forced && std::strcmp(forced, k->name) != 0) continue;
    if (k->supports && !k->supports(a, d)) continue;
    if (!best || (best->dev == Dev::kRef && k->dev != Dev::kRef)) best = k;
  }
  return best;
}
template <class A>
const Kernel<A>& select_kernel(const A& a, const Device& d) {
  const Kernel<A>* best = find_kernel(a, d);
  if (!best) no_kernel(A::kName, d.kind());
  return *best;
}

// Why find_kernel() finds none.
template <class A>
std::string refusal(A a, const Device& d) {
  std::vector<Tensor> tensors;
  auto add = [&](Tensor& t) { if (t.rank) tensors.push_back(t); };
  a.fields(add, add, add);
  std::string text = call_text(A::kName, tensors), why;
  for (const Kernel<A>* k : Kernel<A>::all())
    if (k->dev == d.kind() && *k->limits) why += (why.empty() ? "" : "; ") + std::string("kernel ") + k->name + " takes " + k->limits;
  return why.empty() ? text : text + " (" + why + ")";
}

// One bound op call: everything a replay needs.
struct Launch {
  static constexpr size_t kMaxArgs = 2048;
  const char* op;
  const char* kernel;
  void (*thunk)(const Launch&, Device&);
  void (*tensors)(const Launch&, const std::function<void(const Tensor&)>&);  // those that it reads or writes
  const void* k;
  alignas(16) std::byte args[kMaxArgs];
};

template <class A>
Launch bind(const Kernel<A>& k, const A& a) {
  static_assert(std::is_trivially_copyable_v<A> && sizeof(A) <= Launch::kMaxArgs);
  Launch l;
  l.op = A::kName;
  l.kernel = k.name;
  l.k = &k;
  l.thunk = [](const Launch& l, Device& d) { static_cast<const Kernel<A>*>(l.k)->run(*reinterpret_cast<const A*>(l.args), d); };
  l.tensors = [](const Launch& l, const std::function<void(const Tensor&)>& f) {
    A a = *reinterpret_cast<const A*>(l.args);
    const auto see = [&](Tensor& t) { if (t) f(t); };
    a.fields(see, see, see);
  };
  std::memcpy(l.args, &a, sizeof a);
  return l;
}
// The call that a launch is; null if it is another op's.
template <class A>
const A* call_of(const Launch& l) { return std::strcmp(l.op, A::kName) == 0 ? reinterpret_cast<const A*>(l.args) : nullptr; }

// Ordered execution on one device: runs op calls, and records them when asked.
class Stream {
 public:
  explicit Stream(Device& d) : device_(d) {}
  Device& device() const { return device_; }
  template <class A>
  void run(const A& a) {
    const Kernel<A>& k = select_kernel(a, device_);
    if (plan_) plan_->push_back(bind(k, a));
    k.run(a, device_);
  }
  void begin_capture(Plan* plan) { plan_ = plan; }  // until end_capture, run() also appends to plan
  void end_capture() { plan_ = nullptr; }
  void replay(const Plan& plan) { for (const Launch& l : plan) l.thunk(l, device_); }

 private:
  Device& device_;
  Plan* plan_ = nullptr;
};

}  // namespace xylem
