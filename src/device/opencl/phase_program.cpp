#include "device/opencl/phase_program.h"

#include <regex>
#include <set>
#include <sstream>

#include <fmt/format.h>

namespace xylem {
namespace {

constexpr size_t kPhaseBytes = 512, kHeadBytes = 16;  // of a phase in memory; before its arguments
constexpr size_t kGroup = 256;                        // WG of phase kernels

std::set<std::string> matches(const std::string& text, const char* pattern) {
  std::set<std::string> out;
  const std::regex re(pattern, std::regex::ECMAScript | std::regex::multiline);
  for (std::sregex_iterator it(text.begin(), text.end(), re), end; it != end; ++it) out.insert((*it)[1]);
  return out;
}

// "-DA=1 -DB" as lines of #define; other options change nothing for phases.
std::string defines_of(const std::string& options, std::set<std::string>& names) {
  std::string out;
  std::istringstream words(options);
  for (std::string w; words >> w;) {
    if (!w.starts_with("-D")) continue;
    const size_t eq = w.find('=');
    const std::string name = w.substr(2, eq == std::string::npos ? eq : eq - 2);
    out += fmt::format("#define {} {}\n", name, eq == std::string::npos ? "1" : w.substr(eq + 1));
    names.insert(name);
  }
  return out;
}

// One file once more, with names of its own: macros give its functions and types a prefix, and are gone after it.
Result<std::string> instance(const GpuKernel& k, const std::string& prefix) {
  TRY(const std::string text, cl_source(k.file, {"phase.clh", "shim.clh", "rows.clh"}));
  std::set<std::string> macros = matches(text, R"(^[ \t]*#[ \t]*define[ \t]+(\w+))"), names = matches(text, R"(^FN [^(]*?(\w+)\()");
  names.merge(matches(text, R"(^typedef [^{;]*?\b(\w+);)"));
  names.merge(matches(text, R"(^\}[ \t]*(\w+);)"));
  names.merge(matches(text, R"(^__constant [^=]*?(\w+)\[)"));
  for (const std::string& entry : matches(text, R"(^(?:PHASE|RANGE)_KERNEL\((\w+))"))
    for (const char* part : {"_run", "_floats"}) names.insert(entry + part);
  std::string out = defines_of(k.options, macros);
  for (const std::string& n : names) out += fmt::format("#define {} {}{}\n", n, prefix, n);
  out += text;
  for (const std::string& n : names) out += fmt::format("\n#undef {}", n);
  for (const std::string& n : macros) out += fmt::format("\n#undef {}", n);
  return out + "\n";
}

class BoundPlan final : public CompiledPlan {
 public:
  explicit BoundPlan(OpenClDevice& d) : device_(d) {}
  ~BoundPlan() override {
    device_.sync_queue();
    for (auto& [kernel, range] : steps_) clReleaseKernel(kernel);
  }
  void run() override {
    for (auto& [kernel, range] : steps_) device_.enqueue_bound(kernel, range);
  }
  int launches() const override { return int(steps_.size()); }
  void add(cl_kernel k, const NDRange& r) {
    if (k) steps_.emplace_back(k, r);
  }
  Buffer& own(Buffer b) { return memory_.emplace_back(std::move(b)); }

 private:
  OpenClDevice& device_;
  std::vector<std::pair<cl_kernel, NDRange>> steps_;
  std::vector<Buffer> memory_;
};

struct Phases {
  cl_program program = nullptr;
  std::vector<const GpuKernel*> kernels;  // by kind
};

bool can_join(const BoundLaunch& l) {
  return l.kernel->phase && l.arguments.size() + kHeadBytes <= kPhaseBytes && l.range.group_size == kGroup &&
         l.range.groups[0] * l.range.groups[1] * l.range.groups[2] < (size_t(1) << 30);
}

Phases program_of(OpenClDevice& d, const std::vector<BoundLaunch>& launches) {
  Phases p;
  for (const BoundLaunch& l : launches)
    if (can_join(l) && std::find(p.kernels.begin(), p.kernels.end(), l.kernel) == p.kernels.end()) p.kernels.push_back(l.kernel);
  if (p.kernels.empty()) return p;
  const Result<std::string> source = phase_source(p.kernels);
  CHECK(source.ok());
  std::string name = "phases of";
  for (const GpuKernel* k : p.kernels) name += fmt::format(" {}|{}", k->entry, k->options);
  p.program = d.program_from(name, *source, d.info().lanes == LaneMode::kNvidia ? "-DPHASED -cl-nv-maxrregcount=128" : "-DPHASED");
  return p;
}

// Launches [begin, end) as one.
void add_phases(OpenClDevice& d, BoundPlan& plan, const Phases& p, const std::vector<BoundLaunch>& launches, size_t begin, size_t end) {
  const size_t count = end - begin;
  std::vector<std::byte> bytes(count * kPhaseBytes + 64);  // the counter stands after the phases
  for (size_t i = 0; i < count; i++) {
    const BoundLaunch& l = launches[begin + i];
    const int32_t head[4] = {int32_t(std::find(p.kernels.begin(), p.kernels.end(), l.kernel) - p.kernels.begin()), int32_t(l.range.groups[0]), int32_t(l.range.groups[1]),
                             int32_t(l.range.groups[2])};
    std::memcpy(bytes.data() + i * kPhaseBytes, head, sizeof head);
    std::memcpy(bytes.data() + i * kPhaseBytes + kHeadBytes, l.arguments.data(), l.arguments.size());
  }
  Buffer& memory = plan.own(Buffer(d, bytes.size()));
  cl_kernel k = d.new_kernel(p.program, "phases");
  if (!memory || !k) return d.check(CL_OUT_OF_RESOURCES, "allocating a phase program");
  d.copy_in(memory.data(), bytes.data(), bytes.size());
  d.bind_arguments(k, memory.data(), int(count), static_cast<void*>(static_cast<std::byte*>(memory.data()) + count * kPhaseBytes));
  d.allow_all_memory(k);
  plan.add(k, {{size_t(d.info().phase_groups), 1, 1}, kGroup});
}

void add_launch(OpenClDevice& d, BoundPlan& plan, const BoundLaunch& l) {
  cl_kernel k = l.own;
  if (l.kernel->phase && (k = d.new_kernel(l.kernel->program, l.kernel->entry.c_str()))) {
    d.bind_struct(k, l.arguments);
    d.allow_all_memory(k);
  }
  plan.add(k, l.range);
}

}  // namespace

bool is_phase_kernel(const std::string& file, const std::string& entry) {
  const Result<std::string> text = cl_source(file);
  return text.ok() && (text->find("PHASE_KERNEL(" + entry + ",") != std::string::npos || text->find("RANGE_KERNEL(" + entry + ",") != std::string::npos);
}

Result<std::string> phase_source(const std::vector<const GpuKernel*>& kernels) {
  TRY(std::string out, cl_source("phase.clh"));
  std::string floats = "4", cases;
  for (size_t i = 0; i < kernels.size(); i++) {
    const std::string prefix = fmt::format("p{}_", i);
    TRY(const std::string text, instance(*kernels[i], prefix));
    out += text;
    floats = fmt::format("LARGER({}{}_floats, {})", prefix, kernels[i]->entry, floats);
    cases += fmt::format("      case {}: {}{}_run(head, mem, w); break;\n", i, prefix, kernels[i]->entry);
  }
  out += fmt::format(R"(
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
KERNEL({}) void phases(const __global uchar* program, int count, volatile __global int* arrived) {{
  __local float mem[{}] __attribute__((aligned(32)));
  for (int i = 0; i < count; i++) {{
    const __global int* head = (const __global int*)(program + i * {});
    Wait w;
    w.arrived = arrived, w.target = i * (int)get_num_groups(0);
    switch (head[0]) {{
{}    }}
    phase_arrive(w, (int)get_num_groups(0), i + 1 == count);
  }}
}}
)",
                     kGroup, floats, kPhaseBytes, cases);
  return out;
}

std::unique_ptr<CompiledPlan> compile_launches(OpenClDevice& d, std::vector<BoundLaunch> launches) {
  auto plan = std::make_unique<BoundPlan>(d);
  const Phases p = d.info().phase_groups > 0 ? program_of(d, launches) : Phases{};
  for (size_t i = 0; i < launches.size();) {
    size_t end = i;
    while (p.program && end < launches.size() && can_join(launches[end])) end++;
    if (end > i + 1) add_phases(d, *plan, p, launches, i, end);
    else add_launch(d, *plan, launches[i]), end = i + 1;
    i = end;
  }
  return plan;
}

}  // namespace xylem
