#include "device/opencl/phase_program.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "base/log.h"

namespace xylem {
namespace {

constexpr size_t kPhaseBytes = 512;                    // of a phase in memory
constexpr size_t kGroup = 256, kWideGroup = 512;       // WG of phase kernels, and of wide ones
constexpr size_t kMaxLocal = 23 << 10;                // bytes of a team: two have what every device has

size_t teams(const OpenClDevice& d) { return d.info().lanes == LaneMode::kNvidia ? 2 : 1; }  // PHASE_TEAMS
// Before a phase's arguments, as phase.clh says.
struct PhaseHead {
  int32_t kind, range[3], target, last;
  uint64_t counter, next;
  int32_t number, none;
};
static_assert(sizeof(PhaseHead) == 48);

bool timed() { return std::getenv("XYLEM_PHASE_TIMES") != nullptr; }

bool has_entry(const std::string& text, const char* kind, const std::string& entry) { return text.find(fmt::format("\n{}_KERNEL({},", kind, entry)) != std::string::npos; }

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
  for (const std::string& entry : matches(text, R"(^(?:PHASE|RANGE|WIDE)_KERNEL\((\w+))"))
    for (const char* part : {"_run", "_floats"}) names.insert(entry + part);
  std::string out = defines_of(k.options, macros);
  for (const std::string& n : names) out += fmt::format("#define {} {}{}\n", n, prefix, n);
  out += text;
  for (const std::string& n : names) out += fmt::format("\n#undef {}", n);
  for (const std::string& n : macros) out += fmt::format("\n#undef {}", n);
  return out + "\n";
}

// Of XYLEM_PHASE_TIMES: when each phase of a launch ended, on the first work-group's clock.
struct PhaseTimes {
  std::vector<std::string> names;
  const void* clocks = nullptr;  // on the device
};

class BoundPlan final : public CompiledPlan {
 public:
  explicit BoundPlan(OpenClDevice& d) : device_(d) {}
  ~BoundPlan() override {
    device_.sync_queue();
    device_.release_recording(recording_);
    for (const PhaseTimes& t : times_) print(t);
    for (auto& [kernel, range] : steps_) clReleaseKernel(kernel);
  }
  void run() override {
    if (recording_) return device_.enqueue_recording(recording_);
    for (auto& [kernel, range] : steps_) device_.enqueue_bound(kernel, range);
  }
  int launches() const override { return recording_ ? 1 : int(steps_.size()); }
  void record() { recording_ = device_.record(steps_); }
  void add(cl_kernel k, const NDRange& r) {
    if (k) steps_.emplace_back(k, r);
  }
  Buffer& own(Buffer b) { return memory_.emplace_back(std::move(b)); }
  void add_times(PhaseTimes t) { times_.push_back(std::move(t)); }

 private:
  void print(const PhaseTimes& t) {
    std::vector<uint64_t> clocks(t.names.size() + 1);
    device_.copy_out(clocks.data(), t.clocks, clocks.size() * sizeof clocks[0]);
    std::map<std::string, std::pair<int, uint64_t>> sums;
    for (size_t i = 0; i < t.names.size(); i++) sums[t.names[i]].first++, sums[t.names[i]].second += clocks[i + 1] - clocks[i];
    for (const auto& [name, sum] : sums) fmt::print(stderr, "{:<70}{:>6} phases {:>10} clocks each\n", name, sum.first, sum.second / uint64_t(sum.first));
    fmt::print(stderr, "{:<70}{:>6} phases {:>10} clocks\n", "all", t.names.size(), clocks.back() - clocks[0]);
  }

  OpenClDevice::Recording recording_ = nullptr;
  std::vector<PhaseTimes> times_;
  OpenClDevice& device_;
  std::vector<std::pair<cl_kernel, NDRange>> steps_;
  std::vector<Buffer> memory_;
};

struct Phases {
  cl_program program = nullptr;
  std::vector<const GpuKernel*> kernels;  // by kind
};

bool can_join(const OpenClDevice& d, const BoundLaunch& l) {
  if (!l.kernel->phase) return false;
  cl_ulong local = 0;
  clGetKernelWorkGroupInfo(l.kernel->handle, d.info().id, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local, &local, nullptr);
  const bool wide = l.range.group_size == kWideGroup && teams(d) == 2;
  return local <= (wide ? 2 : 1) * kMaxLocal && l.arguments.size() + sizeof(PhaseHead) <= kPhaseBytes && (wide || l.range.group_size == kGroup) &&
         l.range.groups[0] * l.range.groups[1] * l.range.groups[2] < (size_t(1) << 30);
}

Phases program_of(OpenClDevice& d, const std::vector<BoundLaunch>& launches) {
  Phases p;
  for (const BoundLaunch& l : launches)
    if (can_join(d, l) && std::find(p.kernels.begin(), p.kernels.end(), l.kernel) == p.kernels.end()) p.kernels.push_back(l.kernel);
  if (p.kernels.empty()) return p;
  const Result<std::string> source = phase_source(p.kernels);
  CHECK(source.ok());
  std::string name = "phases of";
  for (const GpuKernel* k : p.kernels) name += fmt::format(" {}|{}", k->entry, k->options);
  Result<cl_program> program = d.program_from(name, *source, timed() ? "-DPHASED -DPHASE_TIMES" : "-DPHASED");
  if (program.ok()) p.program = *program;
  else log::warn("launches are not joined, as their program does not build: {}", program.error().text);
  return p;
}

// Launches [begin, end) as one.
void add_phases(OpenClDevice& d, BoundPlan& plan, const Phases& p, const std::vector<BoundLaunch>& launches, size_t begin, size_t end) {
  const size_t count = end - begin;
  // After the phases the counter, and room for clocks.
  std::vector<std::byte> bytes(count * kPhaseBytes + 64 + (timed() ? (count + 1) * sizeof(uint64_t) : 0));
  Buffer& memory = plan.own(Buffer(d, bytes.size()));
  cl_kernel k = d.new_kernel(p.program, "phases");
  if (!memory || !k) return d.check(CL_OUT_OF_RESOURCES, "allocating a phase program");
  const uint64_t begin_of = reinterpret_cast<uint64_t>(memory.data());
  for (size_t i = 0; i < count; i++) {
    const BoundLaunch& l = launches[begin + i];
    const PhaseHead head = {.kind = int32_t(std::find(p.kernels.begin(), p.kernels.end(), l.kernel) - p.kernels.begin()),
                            .range = {int32_t(l.range.groups[0]), int32_t(l.range.groups[1]), int32_t(l.range.groups[2])},
                            .target = int32_t(i) * d.info().phase_groups,
                            .last = i + 1 == count,
                            .counter = begin_of + count * kPhaseBytes,
                            .next = begin_of + (i + 1) * kPhaseBytes,
                            .number = int32_t(i),
                            .none = 0};
    std::memcpy(bytes.data() + i * kPhaseBytes, &head, sizeof head);
    std::memcpy(bytes.data() + i * kPhaseBytes + sizeof head, l.arguments.data(), l.arguments.size());
  }
  d.copy_in(memory.data(), bytes.data(), bytes.size());
  d.bind_arguments(k, memory.data(), int(count));
  d.allow_all_memory(k);
  plan.add(k, {{size_t(d.info().phase_groups), 1, 1}, kGroup * teams(d)});
  if (!timed()) return;
  PhaseTimes t;
  for (size_t i = begin; i < end; i++) {
    const NDRange& r = launches[i].range;
    t.names.push_back(fmt::format("{} {} {}x{}x{}", launches[i].kernel->entry, launches[i].kernel->options, r.groups[0], r.groups[1], r.groups[2]));
  }
  t.clocks = static_cast<std::byte*>(memory.data()) + count * kPhaseBytes + 64;
  plan.add_times(std::move(t));
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
  return text.ok() && (has_entry(*text, "PHASE", entry) || has_entry(*text, "RANGE", entry) || has_entry(*text, "WIDE", entry));
}

Result<std::string> phase_source(const std::vector<const GpuKernel*>& kernels) {
  TRY(std::string out, cl_source("phase.clh"));
  std::string cases, largest = "4";  // of local memory; constants, since nested macros double with every kernel
  for (size_t i = 0; i < kernels.size(); i++) {
    const std::string prefix = fmt::format("p{}_", i);
    TRY(const std::string text, instance(*kernels[i], prefix));
    out += text;
    out += fmt::format("enum {{ {0}most_floats = (int){0}{1}_floats > (int){2} ? (int){0}{1}_floats : (int){2} }};\n", prefix, kernels[i]->entry, largest);
    largest = prefix + "most_floats";
    cases += fmt::format("    case {}: {}{}_run(head, all{}); break;\n", i, prefix, kernels[i]->entry, has_entry(text, "WIDE", kernels[i]->entry) ? "" : " + PHASE_TEAM * FLOATS");
  }
  out += fmt::format(R"(
#ifdef PHASE_TIMES
FN void phase_time(const __local int* head, int n) {{
  ulong t;
  asm volatile("mov.u64 %0, %%clock64;" : "=l"(t));
  if (phase_item() == 0 && get_group_id(0) == 0) ((volatile __global ulong*)(phase_counter(head) + 16))[n] = t;
}}
#else
#define phase_time(head, n)
#endif
#define FLOATS (({}) + 7) / 8 * 8
#define QUADS {}
FN int run_phase(const __local int* head, __local uint4* other, __local float* all) {{
  if (phase_item() < QUADS && !head[5]) phase_copy(other + phase_item(), (const __global uint4*)*(const __local ulong*)(head + 8) + phase_item());
  switch (head[0]) {{
{}  }}
  phase_copies_wait();
  phase_time(head, head[10] + 1);
  return phase_arrive(head);
}}
KERNEL({}) void phases(const __global uint4* program, int count) {{
  __local float all[PHASE_TEAMS * FLOATS] __attribute__((aligned(32)));
  __local uint4 own[2 * QUADS];  // this phase, and the next one, which comes while this one runs
  if (phase_item() < QUADS) own[phase_item()] = program[phase_item()];
  barrier(CLK_LOCAL_MEM_FENCE);
  phase_time((const __local int*)own, 0);
#if X_HW == 2  // nothing that a counter's register would hold
  while (!run_phase((const __local int*)own, own + QUADS, all) && !run_phase((const __local int*)(own + QUADS), own, all)) {{
  }}
#else
  for (int i = 0; i < count; i++) run_phase((const __local int*)(own + i % 2 * QUADS), own + (i + 1) % 2 * QUADS, all);
#endif
}}
)",
                     largest, kPhaseBytes / 16, cases, "256 * PHASE_TEAMS");
  return out;
}

std::unique_ptr<CompiledPlan> compile_launches(OpenClDevice& d, std::vector<BoundLaunch> launches, std::vector<Buffer> memory) {
  auto plan = std::make_unique<BoundPlan>(d);
  for (Buffer& b : memory) plan->own(std::move(b));
  const Phases p = d.info().phase_groups > 0 ? program_of(d, launches) : Phases{};
  for (size_t i = 0; i < launches.size();) {
    size_t end = i;
    while (p.program && end < launches.size() && can_join(d, launches[end])) end++;
    if (end > i + 1) add_phases(d, *plan, p, launches, i, end);
    else add_launch(d, *plan, launches[i]), end = i + 1;
    i = end;
  }
  plan->record();
  return plan;
}

}  // namespace xylem
