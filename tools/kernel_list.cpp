// kernel_list 8|16 FOLDER SHAPES.json: which programs and kernels xylem compiles on an Intel GPU with this width of sub-groups,
// for every case of every op and for the steps of released models. Writes FOLDER/kernels.json and the sources.
// kernel_list cases: the parity cases that each kernel runs where lanes are emulated, as "op/kernel label", a tab, bytes.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "device/op_spec.h"
#include "device/opencl/opencl_device.h"
#include "nn/ctx.h"
#include "nn/model.h"
#include "ops/sample/sample.h"
#include "recording_driver.h"
#include "weights/checkpoint.h"
#include "weights/plan.h"

namespace xylem {
namespace {

using nlohmann::json;

// f(op, kernel, label, bytes, call) for every case of every kernel of the device itself.
void each_case(OpenClDevice& d, const auto& f) {
  for (const OpEntry& op : op_registry())
    op.bench(d, [&](const std::string& label, const char* kernel, size_t bytes, const std::function<void()>& call) {
      if (std::string_view(kernel) != "ref" && std::string_view(kernel) != "host") f(op.name, kernel, label, bytes, call);
    });
}

Tensor on(Device& d, std::initializer_list<int64_t> dims, DType type = DType::kI32) {
  Tensor t = shape(dims, type);
  t.data = d.alloc(t.bytes());
  return t;
}

struct Step {
  int64_t tokens, rows, context;
};

// Takes the place of the runner: nothing here is computed, so shapes and addresses are all that there must be.
class Shapes {
 public:
  Shapes(OpenClDevice& d, const Model& model, bool round_x) : device_(d), stream_(d), model_(model), round_x_(round_x) {}

  void run(const Step& s) {
    const CacheLayout& layout = model_.caches();
    std::vector<Tensor> pools;
    for (const CacheGroup& g : layout.groups()) {
      const DType type = g.is_state() || layout.kv_element_bytes() == 4 ? DType::kF32 : DType::kBF16;
      pools.push_back(on(device_, {1024, int64_t(g.block_bytes(kPage) / dtype_bytes(type))}, type));
    }
    const int64_t R = s.rows;
    Batch tail = batch(layout, R, R, R, s.context), all = batch(layout, s.tokens, s.rows, R, s.context);
    all.logits_only = s.tokens == s.rows ? &all : &tail;
    Arena arena(device_.alloc(kArena), kArena);
    Ctx c{stream_, all, pools, arena, kPage, round_x_};
    const Tensor token_pool = on(device_, {s.rows, s.context + 1});
    Plan plan;
    stream_.begin_capture(&plan);
    stream_.run(TakeTokens{token_pool, on(device_, {s.tokens}), all.positions, all.tokens});
    Sample sample;
    sample.logits = model_.forward(c);
    sample.rows = on(device_, {R, int64_t(sizeof(SampleRow))}, DType::kU8), sample.token_pool = token_pool;
    sample.tokens = on(device_, {R}), sample.logprobs = on(device_, {R}, DType::kF32);
    sample.top_ids = on(device_, {R, kMaxTopLogprobs}), sample.top_logprobs = on(device_, {R, kMaxTopLogprobs}, DType::kF32);
    sample.adjust_ids = sample.chosen_ids = on(device_, {0}), sample.adjust_add = sample.chosen_logprobs = on(device_, {0}, DType::kF32);
    stream_.run(sample);
    stream_.end_capture();
    device_.compile(plan);  // programs that are composed for plans
  }

 private:
  static constexpr int kPage = 32;
  static constexpr size_t kArena = size_t(1) << 40;

  Batch batch(const CacheLayout& layout, int64_t tokens, int64_t rows, int64_t logit_rows, int64_t context) {
    Batch b;
    b.tokens = on(device_, {tokens}), b.positions = on(device_, {tokens}), b.cu_q = on(device_, {rows + 1});
    b.kv_len = on(device_, {rows}), b.logit_rows = on(device_, {logit_rows});
    for (size_t g = 0; g < layout.groups().size(); g++)
      b.groups.push_back({on(device_, {tokens}), on(device_, {rows, context / kPage + 1}), on(device_, {rows})});
    return b;
  }

  OpenClDevice& device_;
  Stream stream_;
  const Model& model_;
  bool round_x_;
};

// Tensors as the loader would place them.
Status place_weights(const Config& config, Model& model, OpenClDevice& d) {
  const std::vector<Param> params = model.params();
  TRY(WeightPlan plan, plan_dummy(params, quantised_type(config)));
  auto* slab = static_cast<std::byte*>(d.alloc(size_t(plan.slab_bytes)));
  for (Placement& p : plan.placements)
    if (!p.alias && p.param->tensor) p.tensor.data = slab + p.offset, *p.param->tensor = p.tensor;
  for (Placement& p : plan.placements)
    if (p.alias && p.param->tensor) *p.param->tensor = *p.param->tied;
  return {};
}

Status run_model(const json& config_json, OpenClDevice& d) {
  for (const bool f32 : {false, true}) {
    const Config config(config_json);
    TRY(std::unique_ptr<Model> model, make_model(config, {f32 ? DType::kF32 : DType::kBF16}));
    TRY_VOID(place_weights(config, *model, d));
    Shapes shapes(d, *model, !f32);
    for (const int64_t context : {int64_t(512), int64_t(16384)})
      for (const auto& [tokens, rows] : {std::pair{1, 1}, {2, 2}, {3, 3}, {4, 4}, {8, 8}, {16, 16}, {64, 64}, {9, 1}, {40, 1}, {256, 1}, {2048, 1}, {20, 8}, {300, 16}})
        shapes.run({tokens, rows, context});
  }
  return {};
}

// The .cl file whose text this is; programs that are put together at run time have none.
std::string file_of(const std::string& source) {
  for (const ClSource& s : cl_sources())
    if (const auto text = cl_source(s.name); text.ok() && *text == source) return s.name;
  return "(composed)";
}

Status write(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;  // of sources
  std::map<std::pair<std::string, std::string>, json> programs;
  for (const RecordedKernel& k : recording_driver().kernels) {
    std::string& name = files[k.source];
    if (name.empty()) {
      name = fmt::format("{}.cl", files.size());
      std::ofstream(folder / name) << k.source;
    }
    json& p = programs[{k.source, k.options}];
    p["source"] = name, p["options"] = k.options, p["file"] = file_of(k.source);
    p["entries"].push_back(k.entry);
  }
  json all = json::array();
  for (auto& [key, p] : programs) all.push_back(p);
  std::ofstream out(folder / "kernels.json");
  out << all.dump(1) << "\n";
  return out ? Status{} : invalid("cannot write to " + folder.string());
}

Result<std::unique_ptr<OpenClDevice>> open_device(int sub_group, LaneMode lanes) {
  unsetenv("XDG_CACHE_HOME"), unsetenv("HOME");  // no cache of compiled programs
  recording_driver().sub_group = sub_group;
  std::vector<OpenClInfo> devices = opencl_devices();
  CHECK(devices.size() == 1 && devices[0].lanes == LaneMode::kIntel && devices[0].matrix && devices[0].sub_group == sub_group, devices.size());
  devices[0].lanes = lanes;
  return OpenClDevice::open(devices[0], /*test=*/false);
}

Status list_cases() {
  TRY(const std::unique_ptr<OpenClDevice> d, open_device(16, LaneMode::kEmulated));
  each_case(*d, [](const char* op, const char* kernel, const std::string& label, size_t bytes, const auto&) {
    std::cout << op << "/" << kernel << " " << label << "\t" << bytes << "\n";
  });
  return {};
}

Status list_kernels(int sub_group, const std::filesystem::path& folder, const char* shapes) {
  TRY(const std::unique_ptr<OpenClDevice> d, open_device(sub_group, LaneMode::kIntel));
  each_case(*d, [](const char*, const char*, const std::string&, size_t, const auto& call) { call(); });
  const json models = json::parse(std::ifstream(shapes), nullptr, /*allow_exceptions=*/false);
  if (!models.is_object()) return invalid(std::string(shapes) + " is not a JSON object of configs");
  for (const auto& [name, config] : models.items())
    if (const Status s = run_model(config, *d); !s.ok()) return invalid(name + ": " + s.error().text);
  TRY_VOID(d->sync());
  return write(folder);
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  const bool cases = argc == 2 && std::string_view(argv[1]) == "cases";
  if (!cases && (argc != 4 || (std::atoi(argv[1]) != 8 && std::atoi(argv[1]) != 16))) {
    std::cerr << "usage: kernel_list 8|16 FOLDER SHAPES.json\n       kernel_list cases\n";
    return 2;
  }
  const xylem::Status s = cases ? xylem::list_cases() : xylem::list_kernels(std::atoi(argv[1]), argv[2], argv[3]);
  if (s.ok()) return 0;
  std::cerr << s.error().text << "\n";
  return 1;
}
