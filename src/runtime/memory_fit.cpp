#include "runtime/memory_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "runtime/image_encoder.h"
#include "weights/memory.h"

namespace xylem {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

std::string size_text(int64_t bytes) {
  const double mib = double(bytes) / double(1 << 20);
  return mib < 1024 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.2f} GiB", mib / 1024);
}

// Counts what is asked for, and gives nothing.
class CountingDevice final : public Device {
 public:
  CountingDevice() : Device(Dev::kRef) {}
  void* alloc(size_t bytes) override { return total += bytes, reinterpret_cast<void*>(uintptr_t(4096)); }
  void free(void*, size_t) override {}
  size_t total = 0;
};

int64_t slab_bytes(const StepLimits& limits, const CacheLayout& layout) {
  CountingDevice d;
  const StepSlab s(d, limits, layout);
  return int64_t(d.total);
}

const char* kind_of(const Placement& p) {
  switch (p.param->kind) {
    case Param::Kind::kTable: return "weights: tables";
    case Param::Kind::kExperts: return "weights: experts";
    case Param::Kind::kMatrix: case Param::Kind::kTied: case Param::Kind::kHeads: return "weights: matrices";
    default: return "weights: vectors";
  }
}

void add_weights(const WeightPlan& plan, MemoryTable& t) {
  for (const char* kind : {"weights: matrices", "weights: experts", "weights: tables", "weights: vectors"}) {
    int64_t bytes = 0;
    for (const Placement& p : plan.placements)
      if (!p.alias && !p.mapped && std::string_view(kind_of(p)) == kind) bytes += int64_t(p.tensor.bytes());
    if (bytes > 0) t.lines.push_back({kind, bytes, ""});
  }
}

// What other programs, the driver and compiled kernels leave.
int64_t usable_bytes(const ChosenDevice& d) {
  const int64_t of_device = d.memory_bytes > 0 ? d.memory_bytes / 10 * 9 : kUnknown;
  return d.shared_memory ? std::min(of_device, available_memory_bytes()) : of_device;
}

// Devices do not give all their memory in one piece.
Status check_pieces(const FitRequest& r, const DryPass& dry) {
  const int64_t most = r.chosen.max_piece_bytes;
  if (most == 0) return {};
  const std::string gives = fmt::format(" in one piece, but {} gives at most {}", r.chosen.name, size_text(most));
  for (const Placement& p : r.weights.placements)
    if (!p.alias && !p.mapped && int64_t(p.tensor.bytes()) > most)
      return no_capacity(fmt::format("{} takes {}{}: use another device", p.param->name, size_text(int64_t(p.tensor.bytes())), gives));
  if (int64_t(std::max({dry.arena_bytes, dry.vision_bytes, dry.scratch_bytes})) <= most) return {};
  if (int64_t(dry.vision_bytes) > most)
    return no_capacity(fmt::format("the vision tower takes {} for its largest image{}: lower --mm-max-soft-tokens or --mm-max-pixels-per-image", size_text(int64_t(dry.vision_bytes)), gives));
  return no_capacity(fmt::format("a step takes {} for activations and {} as working memory, each{}: lower --chunked-prefill-size or --max-running-requests",
                                 size_text(int64_t(dry.arena_bytes)), size_text(int64_t(dry.scratch_bytes)), gives));
}

}  // namespace

int64_t MemoryTable::sum() const {
  int64_t n = 0;
  for (const Line& l : lines) n += l.bytes;
  return n;
}

std::string MemoryTable::text() const {
  std::string out = fmt::format("the model and its cache do not fit into the memory of {}:\n", device);
  const auto add = [&](const std::string& what, int64_t bytes, const std::string& options) {
    out += fmt::format("  {:<44}{:>12}{}{}\n", what, size_text(bytes), options.empty() ? "" : "   ", options);
  };
  for (const Line& l : lines) add(l.what, l.bytes, l.options);
  add("together", sum(), "");
  if (memory_bytes > 0) add("the device has", memory_bytes, "");
  add("of which can be used", usable_bytes, "");
  int64_t weights = 0;
  for (const Line& l : lines) weights += l.what.starts_with("weights") ? l.bytes : 0;
  return out + (weights > usable_bytes ? "Use a smaller model, or a device with more memory." : "Lower what the options above set.");
}

Result<MemoryFit> fit_memory(const FitRequest& r) {
  const bool host = r.device.host_memory();
  const CacheLayout& layout = r.model.caches();
  MemoryFit out;
  MemoryTable& t = out.table;
  t.device = r.chosen.device ? r.chosen.name : "this machine", t.memory_bytes = r.chosen.memory_bytes, t.usable_bytes = usable_bytes(r.chosen);
  int64_t working = 0;
  for (int round = 0; round < 3; round++) {
    // A cache that takes all that is left, or half where others need memory too. Less cache may mean shorter tables.
    const int64_t left = t.usable_bytes == kUnknown ? kUnknown : t.usable_bytes - r.weights.slab_bytes - working;
    const CacheRoom room{r.chosen.shared_memory ? left / 2 : left, r.chosen.max_piece_bytes};
    Result<MemoryPlan> planned = plan_memory(r.config, r.model, r.prompt_parameters, r.threads, room, r.max_image_tokens);
    if (!planned.ok() && round > 0) break;  // the table of the round before shows it
    if (!planned.ok()) return planned.error();
    MemoryPlan& p = out.plan = *std::move(planned);
    p.context = int(std::min<int64_t>(p.context, p.max_total_tokens));  // a request cannot outgrow the pool it would have to itself
    const StepLimits limits = p.limits();
    TRY(const DryPass dry, dry_pass(r.device, r.model, limits, r.round_x, /*build=*/false));
    TRY_VOID(dry.check());
    TRY_VOID(check_pieces(r, dry));
    const int slabs = host ? std::max(1, r.config.pipeline_depth) + 1 : 1;
    t.lines.clear();
    add_weights(r.weights, t);
    const char* sizes = "--chunked-prefill-size, --max-running-requests";
    t.lines.push_back({fmt::format("activations of a step of {} tokens", limits.tokens), int64_t(dry.arena_bytes), sizes});
    if (dry.vision_bytes) t.lines.push_back({fmt::format("the vision tower's of an image of {} tokens", p.image_tokens), int64_t(dry.vision_bytes), "--mm-max-soft-tokens, --mm-max-pixels-per-image"});
    if (dry.scratch_bytes) t.lines.push_back({"working memory of kernels", int64_t(dry.scratch_bytes), sizes});
    t.lines.push_back({fmt::format("inputs of steps, {} requests of {} tokens", limits.rows, limits.context),
                       slabs * slab_bytes(limits, layout) + int64_t(limits.rows) * (limits.context + 1) * 4, "--max-running-requests, --context-length"});
    if (const VisionTower* tower = limits.image_patches > 0 ? r.model.vision() : nullptr)
      t.lines.push_back({fmt::format("rows of images, {} kept", limits.image_rows),
                         int64_t(ImageEncoder::kept_bytes(*tower, {limits.image_patches, limits.image_rows, 0})) + int64_t(limits.tokens) * tower->width() * 4, "--mm-cache-size"});
    working = 0;
    for (const MemoryTable::Line& l : t.lines) working += l.what.starts_with("weights") ? 0 : l.bytes;
    t.lines.push_back({fmt::format("KV cache of {} tokens", p.max_total_tokens), p.kv_bytes, "--kv-memory"});
    if (t.sum() <= t.usable_bytes) return out;
  }
  return no_capacity(t.text());
}

}  // namespace xylem
