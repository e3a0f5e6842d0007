#include "nn/model.h"

namespace xylem {

Param& ParamList::add(Param::Kind kind, std::string name, Tensor& t, std::vector<int64_t> shape) {
  list_.push_back({kind, std::move(name), &t, std::move(shape), {}, {}, nullptr});
  list_.back().logits_only = logits_only_;
  return list_.back();
}

void ParamList::fused(std::string name, Tensor& t, int64_t k, std::vector<Param::Part> parts) {
  std::erase_if(parts, [](const Param::Part& p) { return p.rows == 0; });
  int64_t n = 0;
  for (const auto& p : parts) n += p.rows;
  add(Param::Kind::kMatrix, std::move(name), t, {n, k}).parts = std::move(parts);
}

void ParamList::experts(std::string name, Tensor& t, int64_t e, int64_t n, int64_t k, std::vector<Param::Part> parts) {
  add(Param::Kind::kExperts, std::move(name), t, {e, n, k}).parts = std::move(parts);
}

void ParamList::constant(std::string name, Tensor& t, std::vector<float> values) {
  Param& p = add(Param::Kind::kConstant, std::move(name), t, {int64_t(values.size())});
  p.constant = std::move(values);
}

void ParamList::tied(std::string name, Tensor& t, int64_t n, int64_t k, const Tensor& to) {
  add(Param::Kind::kTied, std::move(name), t, {n, k}).tied = &to;
}

std::vector<ModelEntry>& model_registry() {
  static std::vector<ModelEntry> v;
  return v;
}

Result<std::unique_ptr<Model>> make_model(const Config& config, const ModelOptions& options) {
  if (!config.json().is_object()) return invalid("config.json is not a JSON object");
  const std::vector<std::string> archs = config.has("architectures") ? config.texts("architectures") : std::vector<std::string>{};
  const std::string type = config.text_or("model_type", "");
  TRY_VOID(config.status());
  auto matches = [&](const ModelEntry& e) {
    for (const auto& a : e.architectures)
      for (const auto& b : archs)
        if (a == b) return true;
    if (!archs.empty()) return false;
    for (const auto& t : e.model_types)
      if (t == type) return true;
    return false;
  };
  std::string known;
  for (const ModelEntry& e : model_registry()) {
    if (matches(e)) {
      std::unique_ptr<Model> m = e.make(config, options);
      TRY_VOID(config.status());
      return m;
    }
    for (const auto& a : e.architectures) known += (known.empty() ? "" : ", ") + a;
  }
  const std::string what = archs.empty() ? "model_type '" + type + "'" : "architecture '" + archs[0] + "'";
  return unsupported("config.json: " + what + " is not known. Known architectures: " + known);
}

int64_t count_parameters(const std::vector<Param>& params) {
  int64_t total = 0;
  for (const Param& p : params) {
    if (p.kind == Param::Kind::kConstant || p.kind == Param::Kind::kTied) continue;
    int64_t n = 1;
    for (int64_t d : p.shape) n *= d;
    total += n;
  }
  return total;
}

int64_t prompt_matrix_parameters(const std::vector<Param>& params) {
  int64_t total = 0;
  for (const Param& p : params) {
    if (p.logits_only || (p.kind != Param::Kind::kMatrix && p.kind != Param::Kind::kExperts)) continue;
    int64_t n = 1;
    for (int64_t d : p.shape) n *= d;
    total += n;
  }
  return total;
}

}  // namespace xylem
