#include "nn/model.h"

#include <cstring>

namespace xylem {

Param& ParamList::add(Param::Kind kind, std::string name, Tensor& t, std::vector<int64_t> shape) {
  Param& p = list_.emplace_back();
  p.kind = kind, p.name = std::move(name), p.tensor = &t, p.shape = std::move(shape);
  p.logits_only = logits_only_, p.also_from = also_from_, p.also_to = also_to_;
  return p;
}

void ParamList::fused(std::string name, Tensor& t, int64_t k, std::vector<Param::Part> parts) {
  std::erase_if(parts, [](const Param::Part& p) { return p.rows == 0; });
  int64_t n = 0;
  for (const auto& p : parts) n += p.rows;
  add(Param::Kind::kMatrix, std::move(name), t, {n, k}).parts = std::move(parts);
}

Param& ParamList::floats(std::string name, Tensor& t, std::vector<int64_t> shape, std::vector<Param::Part> parts) {
  std::erase_if(parts, [](const Param::Part& p) { return p.rows == 0; });
  Param& p = add(Param::Kind::kVector, std::move(name), t, std::move(shape));
  p.parts = std::move(parts);
  p.dummy_mean = 0;
  return p;
}

Param& ParamList::experts(std::string name, Tensor& t, int64_t e, int64_t n, int64_t k, std::vector<Param::Part> parts) {
  Param& p = add(Param::Kind::kExperts, std::move(name), t, {e, n, k});
  p.parts = std::move(parts);
  return p;
}

void ParamList::heads(std::string name, Tensor& t, int64_t heads, int64_t n, int64_t k, Param::HeadRows head) {
  CHECK(head.first >= 0 && head.first + n <= head.rows, name, head.first, n, head.rows);
  Param& p = add(Param::Kind::kHeads, std::move(name), t, {heads, head.transposed ? k : n, head.transposed ? n : k});
  p.head = head;
}

void ParamList::constant(std::string name, Tensor& t, std::vector<float> values) {
  Param& p = add(Param::Kind::kConstant, std::move(name), t, {int64_t(values.size())});
  p.constant = std::move(values);
}

void ParamList::integers(std::string name, Tensor& t, const std::vector<int32_t>& values) {
  std::vector<float> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  constant(std::move(name), t, std::move(bits));
  list_.back().constant_type = DType::kI32;
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

std::string architecture_of(const Config& config) {
  const std::vector<std::string> names = config.has("architectures") ? config.texts("architectures") : std::vector<std::string>{};
  return names.empty() ? config.text_or("model_type", "") : names[0];
}

int64_t count_parameters(const std::vector<Param>& params) {
  int64_t total = 0;
  for (const Param& p : params) {
    if (p.kind == Param::Kind::kConstant || p.kind == Param::Kind::kTied || p.head.transposed) continue;
    int64_t n = 1;
    for (int64_t d : p.shape) n *= d;
    total += n;
  }
  return total;
}

int64_t prompt_matrix_parameters(const std::vector<Param>& params) {
  int64_t total = 0;
  for (const Param& p : params) {
    const bool product = p.kind == Param::Kind::kMatrix || p.kind == Param::Kind::kExperts || p.kind == Param::Kind::kHeads;
    if (p.logits_only || !product || p.head.transposed) continue;
    int64_t n = 1;
    for (int64_t d : p.shape) n *= d;
    total += n;
  }
  return total;
}

}  // namespace xylem
