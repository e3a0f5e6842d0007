#include "weights/loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include <fmt/core.h>

#include "base/clock.h"
#include "base/log.h"
#include "weights/fill.h"
#include "weights/fill_random.h"
#include "weights/memory.h"
#include "weights/plan.h"
#include "weights/progress.h"
#include "weights/task.h"

namespace xylem {
namespace {

using Kind = Param::Kind;

// Runs all tasks on the threads of the pool; the calling thread draws the bar. f: Status(task number, threads, scratch). After
// an error no more tasks are begun.
template <class F>
Status run_tasks(ThreadPool& pool, const std::vector<Task>& tasks, ProgressBar& bar, F&& f) {
  std::atomic<int64_t> next{0}, done_bytes{0};
  std::mutex mutex;
  Status first_error;
  pool.run(pool.size(), [&](CpuThread t) {
    FillScratch scratch;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < int64_t(tasks.size());) {
      const Task& task = tasks[size_t(i)];
      if (Status s = f(i, t.n_threads, scratch); !s.ok()) {
        next.store(int64_t(tasks.size()), std::memory_order_relaxed);
        const std::lock_guard lock(mutex);
        if (first_error.ok()) first_error = std::move(s);
        return;
      }
      const int64_t bytes = (task.end - task.begin) * unit_bytes(*task.place);
      const int64_t done = done_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
      if (t.thread == 0) bar.update(done);
    }
  });
  return first_error;
}

// Where filled tasks go: straight into memory that the host writes, else through a piece of a thread's own.
struct Slab {
  Device& device;
  std::byte* data;

  // fill(base): writes units [task.begin, task.end) behind `base`, where unit 0 of the placement would be.
  template <class F>
  Status put(const Task& task, F&& fill) const {
    const int64_t offset = task.place->offset;
    if (device.host_memory()) return fill(data + offset);
    const int64_t unit = unit_bytes(*task.place), bytes = (task.end - task.begin) * unit;
    thread_local std::vector<std::byte> staging;
    staging.resize(size_t(bytes));
    TRY_VOID(fill(staging.data() - task.begin * unit));
    device.copy_in(data + offset + task.begin * unit, staging.data(), size_t(bytes));
    return {};
  }
};

Status run_load(ThreadPool& pool, const WeightPlan& plan, const Slab& slab, bool progress) {
  const std::vector<Task> tasks = split(plan);
  ProgressBar bar("loading weights", plan.slab_bytes, progress);
  return run_tasks(pool, tasks, bar, [&](int64_t i, int threads, FillScratch& scratch) -> Status {
    const Task& task = tasks[size_t(i)];
    if (size_t(i + threads) < tasks.size()) prefetch(tasks[size_t(i + threads)]);
    TRY_VOID(slab.put(task, [&](std::byte* base) { return fill_task(task, base, scratch); }));
    drop(task);
    return {};
  });
}

void run_dummy(ThreadPool& pool, const WeightPlan& plan, const Slab& slab, const LoadOptions& options) {
  const std::vector<Task> tasks = split(plan);
  ProgressBar bar("random weights", plan.slab_bytes, options.progress);
  const Status done = run_tasks(pool, tasks, bar, [&](int64_t i, int, FillScratch& scratch) -> Status {
    const Task& task = tasks[size_t(i)];
    const Placement& p = *task.place;
    return slab.put(task, [&](std::byte* base) -> Status {
      if (p.param->kind == Kind::kConstant) return fill_task(task, base, scratch);
      fill_random(task, options.seed, uint64_t(&p - plan.placements.data()), base, scratch);
      return {};
    });
  });
  CHECK(done.ok());
}

constexpr int64_t kCompareBytes = int64_t(4) << 20;

bool same_bytes(const StoredTensor& a, const StoredTensor& b) {
  if (a.type != b.type || a.bytes != b.bytes) return false;
  for (int64_t at = 0; at < a.bytes; at += kCompareBytes) {
    const size_t n = size_t(std::min(kCompareBytes, a.bytes - at));
    const bool same = std::memcmp(a.data + at, b.data + at, n) == 0;
    a.file->drop(a.data + at, n), b.file->drop(b.data + at, n);
    if (!same) return false;
  }
  return true;
}

// Files often hold a tied tensor twice: one copy in memory is enough then.
void drop_equal_ties(WeightPlan& plan) {
  for (Placement& p : plan.placements) {
    if (p.param->kind != Kind::kTied || p.alias) continue;
    const Placement* target = tied_target(plan, p);
    if (!target || target->sources.size() != 1 || target->tensor.layout != Layout::kPacked) continue;
    if (same_bytes(*p.sources[0].tensor, *target->sources[0].tensor)) make_alias(plan, p);
  }
}

// Points the model's tensors at their numbers. Aliases last: what they repeat is set by then.
void bind_tensors(WeightPlan& plan, std::byte* slab) {
  for (Placement& p : plan.placements) {
    if (p.alias) continue;
    p.tensor.data = p.mapped ? const_cast<std::byte*>(p.sources[0].tensor->data) : slab + p.offset;
    if (p.param->tensor) *p.param->tensor = p.tensor;
  }
  for (Placement& p : plan.placements)
    if (p.alias && p.param->tensor) *p.param->tensor = *p.param->tied;
}

std::string size_text(int64_t bytes) {
  const double mib = double(bytes) / double(1 << 20);
  return mib < 1024 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.1f} GiB", mib / 1024);
}

Result<Buffer> allocate(Device& device, int64_t bytes, int64_t available) {
  if (available <= 0) available = available_memory_bytes();
  if (bytes > available)
    return no_capacity("The model needs " + size_text(bytes) + " for weights, " + size_text(available) +
                       " are available. Use a smaller model or a machine with more memory.");
  Buffer slab(device, size_t(std::max<int64_t>(bytes, 1)));
  if (!slab) return no_capacity("The model needs " + size_text(bytes) + " for weights, which the system refuses to give.");
  return slab;
}

// Two lines at most: what the model knows and does not use yet, and what nobody asked for.
void log_unused(const WeightPlan& plan, const TensorFiles& files, const std::map<std::string, std::string>& labels) {
  std::map<std::string, int64_t> groups;
  std::string skipped, names;
  for (const auto& [name, t] : files.tensors()) {
    const std::string group = tensor_group(plan, name, labels);
    const int64_t count = ++groups[group];
    if (group == "unused" && count <= 3) names += (count > 1 ? ", " : "") + name;
  }
  const int64_t unused = groups["unused"];
  groups.erase("unused"), groups.erase("model");
  int64_t total = 0;
  for (const auto& [group, count] : groups) total += count, skipped += (skipped.empty() ? "" : ", ") + group;
  if (total) log::info("skipped {} tensors: {}", total, skipped);
  if (unused) log::info("ignored {} tensors that the model does not use: {}{}", unused, names, unused > 3 ? ", ..." : "");
}

std::vector<const MappedFile*> mapped_files(const WeightPlan& plan) {
  std::vector<const MappedFile*> keep;
  for (const Placement& p : plan.placements)
    if (p.mapped) keep.push_back(p.sources[0].tensor->file);
  return keep;
}

void finish(LoadedWeights& w, const WeightPlan& plan, double start) {
  w.bytes = plan.slab_bytes;
  w.mapped_bytes = plan.mapped_bytes;
  w.parameters = plan.parameters;
  w.dtype_stored = dtype_name(plan.stored_type);
  w.seconds = now_seconds() - start;
}

}  // namespace

Result<LoadedWeights> load_weights(const std::string& folder, Model& model, CpuDevice& device, const LoadOptions& options, Device* target) {
  const double start = now_seconds();
  const std::vector<Param> params = model.params();
  Device& to = target ? *target : device;
  LoadedWeights w;
  if (options.dummy) {
    TRY(WeightPlan plan, plan_dummy(params, options.dummy_type));
    TRY(w.slab, allocate(to, plan.slab_bytes, options.available_bytes));
    const Slab slab{to, static_cast<std::byte*>(w.slab.data())};
    run_dummy(device.pool(), plan, slab, options);
    TRY_VOID(to.sync());
    bind_tensors(plan, slab.data);
    finish(w, plan, start);
    log::info("made {:.2f} GB of random weights in {:.1f} s, {:.2f} GB/s", double(w.bytes) / 1e9, w.seconds, double(w.bytes) / 1e9 / w.seconds);
    return w;
  }
  TRY(TensorFiles files, TensorFiles::open(folder));
  TRY(WeightPlan plan, plan_weights(params, model.prefixes(), files));
  for (const std::string& note : plan.notes) log::warn("{}", note);
  drop_equal_ties(plan);
  if (!to.host_memory()) {  // only the host reads files
    for (Placement& p : plan.placements) p.mapped = false;
    assign_offsets(plan);
  }
  TRY(w.slab, allocate(to, plan.slab_bytes, options.available_bytes));
  const Slab slab{to, static_cast<std::byte*>(w.slab.data())};
  TRY_VOID(run_load(device.pool(), plan, slab, options.progress));
  TRY_VOID(to.sync());
  bind_tensors(plan, slab.data);
  log_unused(plan, files, model.unused());
  w.files = std::move(files).release(mapped_files(plan));
  finish(w, plan, start);
  log::info("loaded {:.2f} GB of weights ({}) in {:.1f} s, {:.2f} GB/s{}", double(w.bytes) / 1e9, w.dtype_stored, w.seconds,
            double(w.bytes) / 1e9 / w.seconds, w.mapped_bytes ? fmt::format("; {:.2f} GB stay in the file", double(w.mapped_bytes) / 1e9) : "");
  return w;
}

}  // namespace xylem
