#include "cli/model_summary.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

namespace xylem {
namespace {

// A count under one of some names, in the config or in its text part; 0 when it is not there.
int64_t count_of(const nlohmann::json& config, std::initializer_list<const char*> names) {
  const nlohmann::json& text = config.contains("text_config") ? config["text_config"] : config;
  for (const char* key : names)
    if (text.is_object() && text.contains(key) && text[key].is_number_integer()) return text[key];
  return 0;
}

double numbers(const Param& p) {
  double n = 1;
  for (int64_t d : p.shape) n *= double(d);
  return n;
}

}  // namespace

double ModelSummary::step_bytes(int tokens) const {
  const double chosen = experts > 0 ? 1 - std::pow(1 - double(experts_per_token) / double(experts), tokens) : 1;
  return double(checkpoint.step_bytes) + double(checkpoint.expert_bytes) * chosen;
}

double ModelSummary::prompt_flops_per_token() const {
  double flops = 0;
  for (const Param& p : params) {
    if (p.logits_only) continue;
    if (p.kind == Param::Kind::kMatrix || (p.kind == Param::Kind::kHeads && !p.head.transposed)) flops += 2 * numbers(p);
    if (p.kind == Param::Kind::kExperts && experts > 0) flops += 2 * numbers(p) * double(experts_per_token) / double(experts);
  }
  return flops;
}

double ModelSummary::cache_bytes(int64_t tokens) const {
  double bytes = 0;
  for (const CacheGroup& g : model->caches().groups()) {
    const int64_t kept = g.window_tokens > 0 ? std::min<int64_t>(tokens, g.window_tokens) : tokens;
    bytes += g.layers * (double(g.bytes_per_state) + double(g.bytes_per_token) * double(kept));
  }
  return bytes;
}

Result<ModelSummary> summarize_model(const std::string& folder, size_t kv_element_bytes) {
  TRY(const Config config, load_config(folder));
  const nlohmann::json& json = config.json();
  ModelSummary s;
  s.folder = folder;
  TRY(s.model, make_model(config, {.kv_dtype = kv_element_bytes == 4 ? DType::kF32 : DType::kBF16}));
  s.architecture = architecture_of(config);
  s.params = s.model->params();
  s.experts = count_of(json, {"num_experts", "num_local_experts", "n_routed_experts"});
  s.experts_per_token = count_of(json, {"top_k_experts", "num_experts_per_tok", "num_experts_per_token"});
  TRY(s.checkpoint, summarize_checkpoint(folder, *s.model, 0));
  return s;
}

}  // namespace xylem
