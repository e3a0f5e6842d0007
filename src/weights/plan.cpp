#include "weights/plan.h"

#include <algorithm>

namespace xylem {
namespace {

using Kind = Param::Kind;

constexpr int64_t kMaxNumel = int64_t(1) << 40;  // far above any tensor; keeps sums of bytes, padding included, in range
constexpr int64_t kAlign = 64;

Status check_size(const Param& p) {
  int64_t n = 1;
  for (int64_t d : p.shape)
    if (__builtin_mul_overflow(n, d, &n) || n > kMaxNumel)
      return invalid("config.json: " + p.name + " would have the shape " + shape_text(p.shape) + ", which is too large.");
  return {};
}

int64_t numel(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

Tensor place_of(const Param& p, DType type) {
  Tensor t;
  CHECK(p.shape.size() <= 4, p.name);
  const bool packed = p.kind == Kind::kMatrix || p.kind == Kind::kExperts || p.kind == Kind::kTied;
  t.layout = packed ? Layout::kPacked : Layout::kStrided;
  t.dtype = p.kind == Kind::kVector || p.kind == Kind::kConstant ? DType::kF32 : type;
  t.rank = int8_t(p.shape.size());
  int64_t stride = 1;
  for (size_t i = p.shape.size(); i-- > 0;) t.dim[i] = p.shape[i], t.stride[i] = stride, stride *= p.shape[i];
  return t;
}

std::vector<int64_t> without_ones(std::vector<int64_t> shape) {
  std::erase(shape, 1);
  return shape;
}

std::string expert_name(const std::string& pattern, int64_t e) {
  const size_t at = pattern.find("{e}");
  return at == pattern.npos ? pattern : pattern.substr(0, at) + std::to_string(e) + pattern.substr(at + 3);
}

class Planner {
 public:
  Planner(const std::vector<std::string>& prefixes, const TensorFiles& files) : prefixes_(prefixes), files_(files) {}

  // The first prefix under which the first matrix or table is found.
  Status choose_prefix(const std::vector<Param>& params) {
    const auto probe = std::find_if(params.begin(), params.end(), [](const Param& p) {
      return p.kind == Kind::kMatrix || p.kind == Kind::kTable || p.kind == Kind::kExperts;
    });
    if (probe == params.end()) return {};
    for (const std::string& prefix : prefixes_) {
      prefix_ = prefix;
      if (files_.find(prefix + probe->name)) return {};
      if (!probe->parts.empty() && files_.find(prefix + expert_name(probe->parts[0].name, 0))) return {};
    }
    std::string tried, sample;
    for (const std::string& prefix : prefixes_) tried += (tried.empty() ? "" : " nor ") + prefix + probe->name;
    for (const auto& [name, t] : files_.tensors()) {
      if (sample.size() > 100) break;
      sample += (sample.empty() ? "" : ", ") + name;
    }
    return not_found(files_.origin() + ": has no tensor " + tried + ". It has " + std::to_string(files_.tensors().size()) +
                     " tensors: " + sample + ", ...");
  }

  Result<Placement> place(const Param& p) {
    Placement out;
    out.param = &p;
    DType type = DType::kF32;
    if (p.kind != Kind::kConstant) {
      TRY(out.sources, sources_of(p));
      out.alias = p.kind == Kind::kTied && out.sources.empty();
      type = common_type(p, out.sources);
    }
    out.tensor = place_of(p, type);
    out.mapped = p.kind == Kind::kTable && can_stay(out);
    return out;
  }

  std::vector<std::string> notes;
  std::set<std::string, std::less<>> used;

 private:
  // "name" stands behind the model's prefix; "/name" in front of it, or behind some outer parts of it: a head is
  // "lm_head.weight" in one checkpoint and "language_model.lm_head.weight" in the next.
  const StoredTensor* find(const std::string& name) const {
    if (!name.starts_with('/')) return files_.find(prefix_ + name);
    const std::string rest = name.substr(1);
    for (size_t outer = 0;; outer++) {
      if (const StoredTensor* t = files_.find(prefix_.substr(0, outer) + rest)) return t;
      outer = prefix_.find('.', outer);
      if (outer == prefix_.npos || outer + 1 == prefix_.size()) return nullptr;
    }
  }

  Result<std::vector<SourceRows>> sources_of(const Param& p) {
    std::vector<SourceRows> list;
    const int64_t k = p.shape.size() > 1 ? p.shape.back() : 1;
    if (const StoredTensor* t = find(p.name)) {
      TRY_VOID(check(*t, p.shape));
      list.push_back({0, numel(p.shape) / std::max<int64_t>(k, 1), t});
      return list;
    }
    if (p.kind == Kind::kTied) return list;
    if (p.parts.empty()) return missing(p.name);
    const int64_t experts = p.kind == Kind::kExperts ? p.shape[0] : 1;
    int64_t row = 0;
    for (int64_t e = 0; e < experts; e++) {
      for (const Param::Part& part : p.parts) {
        const std::string name = expert_name(part.name, e);
        const StoredTensor* t = find(name);
        if (!t) return missing(name);
        TRY_VOID(check(*t, p.shape.size() > 1 ? std::vector<int64_t>{part.rows, k} : std::vector<int64_t>{part.rows}));
        list.push_back({row, part.rows, t});
        row += part.rows;
      }
    }
    CHECK(row * k == numel(p.shape), p.name, row, k);
    return list;
  }

  Error missing(const std::string& name) const {
    const std::string full = name.starts_with('/') ? name.substr(1) : prefix_ + name;
    return not_found(files_.origin() + ": tensor " + full + " is missing: the model of config.json needs it.");
  }

  Status check(const StoredTensor& t, const std::vector<int64_t>& shape) {
    used.insert(t.name);
    if (without_ones(t.shape) != without_ones(shape))
      return invalid(t.file->path() + ": tensor " + t.name + " has the shape " + shape_text(t.shape) + ", config.json asks for " +
                     shape_text(shape) + ".");
    if (!t.type)
      return unsupported(t.file->path() + ": tensor " + t.name + " has the type " + t.dtype + "; BF16, F16 and F32 are supported.");
    return {};
  }

  // Parts of different types meet in float32, which holds both.
  DType common_type(const Param& p, const std::vector<SourceRows>& sources) {
    if (sources.empty()) return DType::kF32;
    const DType first = *sources[0].tensor->type;
    for (const SourceRows& s : sources) {
      if (*s.tensor->type == first) continue;
      if (p.kind != Kind::kVector) notes.push_back(p.name + ": its parts have different types and are widened to float32");
      return DType::kF32;
    }
    return first;
  }

  static bool can_stay(const Placement& p) {
    if (p.sources.size() != 1) return false;
    return reinterpret_cast<uintptr_t>(p.sources[0].tensor->data) % dtype_bytes(p.tensor.dtype) == 0;
  }

  const std::vector<std::string>& prefixes_;
  const TensorFiles& files_;
  std::string prefix_;
};

void count(WeightPlan& plan, const std::vector<Param>& params) {
  plan.parameters = count_parameters(params);
  std::map<DType, int64_t> bytes;
  for (const Placement& p : plan.placements) {
    if (p.param->kind == Kind::kVector || p.param->kind == Kind::kConstant || p.alias) continue;
    bytes[p.tensor.dtype] += int64_t(p.tensor.bytes());
  }
  int64_t most = -1;
  for (const auto& [type, n] : bytes)
    if (n > most) most = n, plan.stored_type = type;
}

}  // namespace

Result<WeightPlan> plan_weights(const std::vector<Param>& params, const std::vector<std::string>& prefixes, const TensorFiles& files) {
  Planner planner(prefixes, files);
  TRY_VOID(planner.choose_prefix(params));
  WeightPlan plan;
  for (const Param& p : params) {
    TRY_VOID(check_size(p));
    TRY(Placement placement, planner.place(p));
    plan.placements.push_back(std::move(placement));
  }
  plan.notes = std::move(planner.notes);
  plan.used = std::move(planner.used);
  count(plan, params);
  assign_offsets(plan);
  return plan;
}

Result<WeightPlan> plan_dummy(const std::vector<Param>& params) {
  WeightPlan plan;
  for (const Param& p : params) {
    TRY_VOID(check_size(p));
    Placement out;
    out.param = &p;
    out.tensor = place_of(p, DType::kBF16);
    out.alias = p.kind == Kind::kTied;
    plan.placements.push_back(std::move(out));
  }
  count(plan, params);
  assign_offsets(plan);
  return plan;
}

void make_alias(WeightPlan& plan, Placement& p) {
  CHECK(p.param->kind == Kind::kTied);
  p.sources.clear();
  p.alias = true;
  assign_offsets(plan);
}

const Placement* tied_target(const WeightPlan& plan, const Placement& p) {
  for (const Placement& q : plan.placements)
    if (q.param->tensor && q.param->tensor == p.param->tied) return &q;
  return nullptr;
}

void assign_offsets(WeightPlan& plan) {
  plan.slab_bytes = plan.mapped_bytes = 0;
  for (Placement& p : plan.placements) {
    if (p.alias) continue;
    const int64_t bytes = int64_t(p.tensor.bytes());
    if (p.mapped) {
      plan.mapped_bytes += bytes;
      continue;
    }
    p.offset = plan.slab_bytes;
    plan.slab_bytes += round_up(bytes, kAlign);
  }
}

std::string tensor_group(const WeightPlan& plan, const std::string& name, const std::map<std::string, std::string>& labels) {
  if (plan.used.count(name)) return "model";
  for (const auto& [prefix, label] : labels)
    if (name.starts_with(prefix)) return label;
  return "unused";
}

}  // namespace xylem
