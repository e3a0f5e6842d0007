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
  const std::vector<Buffer>& pieces;

  // fill(base): writes units [task.begin, task.end) behind `base`, where unit 0 of the placement would be.
  template <class F>
  Status put(const Task& task, F&& fill) const {
    std::byte* const place = static_cast<std::byte*>(pieces[size_t(task.place->piece)].data()) + task.place->offset;
    if (device.host_memory()) return fill(place);
    const int64_t unit = unit_bytes(*task.place), bytes = (task.end - task.begin) * unit;
    thread_local std::vector<std::byte> staging;
    staging.resize(size_t(bytes));
    TRY_VOID(fill(staging.data() - task.begin * unit));
    device.copy_in(place + task.begin * unit, staging.data(), size_t(bytes));
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

// Points the model's tensors at their numbers. Aliases last: what they repeat is set by then. piece: where a piece of the slab is.
template <class F>
void bind_tensors(WeightPlan& plan, F&& piece) {
  for (Placement& p : plan.placements) {
    if (p.alias) continue;
    p.tensor.data = p.mapped ? const_cast<std::byte*>(p.sources[0].tensor->data) : piece(p.piece) + p.offset;
    if (p.param->tensor) *p.param->tensor = p.tensor;
  }
  for (Placement& p : plan.placements)
    if (p.alias && p.param->tensor) *p.param->tensor = *p.param->tied;
}

std::string size_text(int64_t bytes) {
  const double mib = double(bytes) / double(1 << 20);
  return mib < 1024 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.1f} GiB", mib / 1024);
}

Result<std::vector<Buffer>> allocate(Device& device, const WeightPlan& plan, int64_t available) {
  if (available <= 0) available = available_memory_bytes();
  if (plan.slab_bytes > available)
    return no_capacity("The model needs " + size_text(plan.slab_bytes) + " for weights, " + size_text(available) +
                       " are available. Use a smaller model or a machine with more memory.");
  std::vector<Buffer> pieces;
  for (const int64_t bytes : plan.piece_bytes) {
    pieces.emplace_back(device, size_t(std::max<int64_t>(bytes, 1)));
    if (!pieces.back())
      return no_capacity("The model needs " + size_text(plan.slab_bytes) + " for weights, " + size_text(bytes) + " of them in one piece, which the system refuses to give.");
  }
  return pieces;
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

Result<WeightLoader> WeightLoader::open(const std::string& folder, Model& model, const LoadOptions& options, const Device* target) {
  WeightLoader l;
  l.start_ = now_seconds();
  l.options_ = options, l.labels_ = model.unused();
  l.params_ = std::make_unique<std::vector<Param>>(model.params());
  if (options.dummy) {
    TRY(l.plan_, plan_dummy(*l.params_, options.dummy_type));
  } else {
    TRY(TensorFiles files, TensorFiles::open(folder));
    l.files_ = std::make_unique<TensorFiles>(std::move(files));
    TRY(l.plan_, plan_weights(*l.params_, model.prefixes(), *l.files_));
    for (const std::string& note : l.plan_.notes) log::warn("{}", note);
    drop_equal_ties(l.plan_);
    if (target && !target->host_memory())  // only the host reads files
      for (Placement& p : l.plan_.placements) p.mapped = false;
  }
  if (options.max_piece_bytes > 0) l.plan_.max_piece_bytes = options.max_piece_bytes;
  assign_offsets(l.plan_);
  constexpr uintptr_t kNowhere = 4096;
  bind_tensors(l.plan_, [](int) { return reinterpret_cast<std::byte*>(kNowhere); });
  return l;
}

Result<LoadedWeights> WeightLoader::load(CpuDevice& device, Device* target) {
  Device& to = target ? *target : device;
  LoadedWeights w;
  TRY(w.slab, allocate(to, plan_, options_.available_bytes));
  const Slab slab{to, w.slab};
  if (files_) TRY_VOID(run_load(device.pool(), plan_, slab, options_.progress));
  else run_dummy(device.pool(), plan_, slab, options_);
  TRY_VOID(to.sync());
  bind_tensors(plan_, [&](int piece) { return static_cast<std::byte*>(w.slab[size_t(piece)].data()); });
  if (files_) {
    log_unused(plan_, *files_, labels_);
    w.files = std::move(*files_).release(mapped_files(plan_));
  }
  finish(w, plan_, start_);
  const double gb = double(w.bytes) / 1e9;
  if (!files_) log::info("made {:.2f} GB of random weights in {:.1f} s, {:.2f} GB/s", gb, w.seconds, gb / w.seconds);
  else log::info("loaded {:.2f} GB of weights ({}) in {:.1f} s, {:.2f} GB/s{}", gb, w.dtype_stored, w.seconds, gb / w.seconds,
                 w.mapped_bytes ? fmt::format("; {:.2f} GB stay in the file", double(w.mapped_bytes) / 1e9) : "");
  return w;
}

Result<LoadedWeights> load_weights(const std::string& folder, Model& model, CpuDevice& device, const LoadOptions& options, Device* target) {
  TRY(WeightLoader loader, WeightLoader::open(folder, model, options, target));
  return loader.load(device, target);
}

}  // namespace xylem
