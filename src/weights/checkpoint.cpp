#include "weights/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "weights/plan.h"

namespace xylem {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t(16) << 20;
constexpr int kMaxDepth = 64;  // copies of a JSON value recurse

Status check_folder(const std::string& folder) {
  std::error_code ec;
  if (!fs::exists(folder, ec)) return not_found(folder + ": there is no such folder. Give the folder of a checkpoint as Hugging Face saves it.");
  if (!fs::is_directory(folder, ec)) return invalid(folder + ": is a file. Give the folder of a checkpoint, not a file in it.");
  if (fs::exists(folder + "/config.json", ec)) return {};
  std::string missing = "config.json";
  if (!TensorFiles::present(folder)) missing += ", model.safetensors or model.safetensors.index.json";
  if (!fs::exists(folder + "/tokenizer.json", ec)) missing += ", tokenizer.json";
  return not_found(folder + ": is not a checkpoint folder: it lacks " + missing + ".");
}

Result<Json> parse_json(const MappedFile& file) {
  if (file.size() > kMaxConfigBytes) return invalid(file.path() + ": has " + std::to_string(file.size()) + " bytes, which is too large.");
  const std::string text(reinterpret_cast<const char*>(file.data()), file.size());
  bool deep = false;
  const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) { return !(deep |= depth > kMaxDepth); };
  try {
    Json json = Json::parse(text, limit_depth);
    if (deep) return invalid(file.path() + ": is nested too deeply.");
    if (!json.is_object()) return invalid(file.path() + ": is not a JSON object.");
    return json;
  } catch (const Json::exception& e) {
    const std::string what = e.what();  // "[json.exception.parse_error.101] parse error at line 2, column 3: ..."
    const size_t at = what.find("] ");
    return invalid(file.path() + ": is not valid JSON: " + (at == what.npos ? what : what.substr(at + 2)));
  }
}

constexpr const char* kSupported = "Supported are weights in bfloat16, float16 and float32, 'mxfp4' experts, and 'fp8' (e4m3 with blocks of 128 x 128).";

Error bad_quantisation(const std::string& path, const std::string& what) {
  return unsupported(path + ": the weights are quantised ('quantization_config') " + what + ", which is not supported. " + kSupported);
}

// A short text of a value for a message.
std::string brief(const Json& v) { return v.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 60); }

Status check_fp8(const Json& q, const std::string& path) {
  const auto is = [&](const char* key, const Json& wanted, bool required) {
    const auto it = q.find(key);
    return it == q.end() || it->is_null() ? !required : *it == wanted;
  };
  const auto found = [&](const char* key) { return q.contains(key) ? brief(q.at(key)) : std::string("missing"); };
  if (!is("fmt", "e4m3", false)) return bad_quantisation(path, "by method 'fp8' in the format " + found("fmt"));
  if (!is("activation_scheme", "dynamic", false)) return bad_quantisation(path, "by method 'fp8' with the activation_scheme " + found("activation_scheme"));
  if (!is("weight_block_size", Json::array({128, 128}), true))
    return bad_quantisation(path, "by method 'fp8' with the weight_block_size " + found("weight_block_size"));
  return {};
}

// The object 'quantization_config' of a config, wherever it lies; null if there is none.
const Json* quantisation_of(const Json& json) {
  const auto text = json.find("text_config");
  for (const Json* object : {&json, text != json.end() ? &*text : nullptr}) {
    if (!object || !object->is_object()) continue;
    for (const char* key : {"quantization_config", "compression_config"})
      if (const auto q = object->find(key); q != object->end() && !q->is_null()) return &*q;
  }
  return nullptr;
}

std::string method_of(const Json& q) {
  const bool named = q.is_object() && q.contains("quant_method") && q.at("quant_method").is_string();
  return named ? q.at("quant_method").get<std::string>() : "unknown";
}

Status check_quantization(const Json& json, const std::string& path) {
  const Json* q = quantisation_of(json);
  if (!q) return {};
  const std::string method = method_of(*q);
  if (method == "mxfp4") return {};
  if (method == "fp8") return check_fp8(*q, path);
  return bad_quantisation(path, "by method '" + method.substr(0, 60) + "'");
}

void add(CheckpointSummary::Count& c, const StoredTensor& t) { c.tensors++, c.bytes += t.bytes; }

void count_files(CheckpointSummary& s, const TensorFiles& files, const WeightPlan& plan, const std::map<std::string, std::string>& labels) {
  for (const auto& [name, t] : files.tensors()) {
    add(s.dtypes[t.dtype], t);
    add(s.groups[tensor_group(plan, name, labels)], t);
  }
  s.tensors = int64_t(files.tensors().size());
}

void count_caches(CheckpointSummary& s, const CacheLayout& layout) {
  for (const CacheGroup& g : layout.groups()) {
    CheckpointSummary::Cache c{g, int64_t(g.bytes_per_token) * g.layers, 0};
    const int64_t kept = g.window_tokens > 0 ? std::min<int64_t>(g.window_tokens, s.context_tokens) : s.context_tokens;
    c.bytes_per_sequence = g.window_tokens < 0 ? int64_t(g.bytes_per_state) * g.layers : c.bytes_per_token * kept;
    s.cache_bytes_per_token += c.bytes_per_token;
    s.cache_bytes_per_sequence += c.bytes_per_sequence;
    s.caches.push_back(c);
  }
}

void take_plan(CheckpointSummary& s, const WeightPlan& plan) {
  s.parameters = plan.parameters;
  s.weight_bytes = plan.slab_bytes;
  s.mapped_bytes = plan.mapped_bytes;
  for (const Placement& p : plan.placements) {
    if (p.alias || p.param->kind == Param::Kind::kTable || p.param->head.transposed) continue;
    (p.param->kind == Param::Kind::kExperts ? s.expert_bytes : s.step_bytes) += int64_t(p.tensor.bytes());
  }
}

}  // namespace

Result<Config> load_config(const std::string& folder) {
  TRY_VOID(check_folder(folder));
  TRY(std::unique_ptr<MappedFile> file, MappedFile::open(folder + "/config.json"));
  TRY(Json json, parse_json(*file));
  TRY_VOID(check_quantization(json, file->path()));
  return Config(std::move(json), file->path());
}

DType quantised_type(const Config& config) {
  const Json* q = config.json().is_object() ? quantisation_of(config.json()) : nullptr;
  const std::string method = q ? method_of(*q) : "";
  return method == "mxfp4" ? DType::kMxfp4 : method == "fp8" ? DType::kF8E4M3 : DType::kBF16;
}

Result<CheckpointSummary> summarize_checkpoint(const std::string& folder, Model& model, int64_t context_tokens) {
  CheckpointSummary s;
  s.context_tokens = context_tokens > 0 ? context_tokens : model.max_context();
  count_caches(s, model.caches());
  const std::vector<Param> params = model.params();
  s.has_weights = TensorFiles::present(folder);
  if (!s.has_weights) {
    TRY(const Config config, load_config(folder));
    TRY(WeightPlan plan, plan_dummy(params, quantised_type(config)));
    take_plan(s, plan);
    return s;
  }
  TRY(TensorFiles files, TensorFiles::open(folder));
  TRY(WeightPlan plan, plan_weights(params, model.prefixes(), files));
  for (Placement& p : plan.placements)
    if (p.param->kind == Param::Kind::kTied && !p.alias) make_alias(plan, p);  // saved twice: the loader keeps one if they are equal
  take_plan(s, plan);
  count_files(s, files, plan, model.unused());
  return s;
}

}  // namespace xylem
