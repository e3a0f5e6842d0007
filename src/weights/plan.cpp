#include "weights/plan.h"

#include <algorithm>

namespace xylem {
namespace {

using Kind = Param::Kind;

constexpr int64_t kMaxNumel = int64_t(1) << 40;  // far above any tensor; keeps sums of bytes, padding included, in range
constexpr int64_t kAlign = 64;

Status check_size(const Param& p) {
  int64_t n = 1;
  std::vector<int64_t> dims = p.shape;
  if (p.kind == Kind::kHeads) dims.push_back(p.head.rows);
  for (int64_t d : dims)
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
  const bool packed = p.kind == Kind::kMatrix || p.kind == Kind::kExperts || p.kind == Kind::kHeads || p.kind == Kind::kTied;
  t.layout = packed ? Layout::kPacked : Layout::kStrided;
  t.dtype = p.kind == Kind::kVector ? DType::kF32 : p.kind == Kind::kConstant ? p.constant_type : type;
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

// Rows as sources count them.
int64_t row_numel(const Param& p) {
  const bool single = p.kind == Kind::kConstant || (p.kind == Kind::kVector && !p.interleaved);
  return single || p.shape.empty() ? 1 : p.shape.back();
}

int64_t blocks_of(int64_t n) { return round_up(n, kF8Group) / kF8Group; }

// Shapes that agree but for dimensions of one; of a vector with one dimension, the count of numbers is enough.
bool same_shape(const Param& p, const std::vector<int64_t>& stored, const std::vector<int64_t>& wanted) {
  if (p.flat) return !stored.empty() && stored[0] == wanted[0] && numel(stored) == numel(wanted);
  if (p.kind == Kind::kVector && wanted.size() == 1) return numel(stored) == wanted[0];
  return without_ones(stored) == without_ones(wanted);
}

// What the file should hold under the parameter's own name.
std::vector<int64_t> stored_shape(const Param& p) {
  if (p.kind == Kind::kHeads) return {p.shape[0] * p.head.rows, p.head.transposed ? p.shape[1] : p.shape[2]};
  if (p.kind == Kind::kExperts && p.input_first) return {p.shape[0], p.shape[2], p.shape[1]};
  return p.shape;
}

// Embeddings that serve as heads: rows are read from them, so they are never quantised.
std::set<const Tensor*> tied_targets(const std::vector<Param>& params) {
  std::set<const Tensor*> targets;
  for (const Param& p : params)
    if (p.kind == Kind::kTied) targets.insert(p.tied);
  return targets;
}

// What a checkpoint that is quantised to `type` holds: mxfp4 experts, or float8 products without heads and routers, which are
// told by their names, and without what is smaller than a block.
DType dummy_type(const Param& p, DType type) {
  if (type == DType::kMxfp4) return p.kind == Kind::kExperts && p.shape[2] % kMxfp4Group == 0 ? type : DType::kBF16;
  if (type != DType::kF8E4M3) return DType::kBF16;
  const bool router = p.name.ends_with(".gate.weight") || p.name.find("router") != p.name.npos;
  const bool product = p.kind == Kind::kMatrix || p.kind == Kind::kExperts;
  if (p.kind == Kind::kHeads) return DType::kF32;
  return product && !router && !p.logits_only && p.shape.back() % kF8Group == 0 && p.shape[p.shape.size() - 2] >= kF8Group ? type : DType::kBF16;
}

class Planner {
 public:
  Planner(const std::vector<std::string>& prefixes, const TensorFiles& files, const std::vector<Param>& params)
      : prefixes_(prefixes), files_(files), gathered_(tied_targets(params)) {}

  // The first prefix under which the first matrix or table is found.
  Status choose_prefix(const std::vector<Param>& params) {
    const auto probe = std::find_if(params.begin(), params.end(), [](const Param& p) {
      return p.kind == Kind::kMatrix || p.kind == Kind::kTable || p.kind == Kind::kExperts;
    });
    if (probe == params.end()) return {};
    for (const std::string& prefix : prefixes_) {
      prefix_ = prefix;
      if (find(*probe, probe->name) || find(*probe, probe->name + kBlocks)) return {};
      if (!probe->parts.empty() && find(*probe, expert_name(probe->parts[0].name, 0))) return {};
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
    CHECK(!p.interleaved || (p.kind == Kind::kExperts ? p.shape[1] : p.shape.back()) % 2 == 0, p.name);
    CHECK(!p.interleaved || p.kind != Kind::kVector || p.parts.empty(), p.name);
    Placement out;
    out.param = &p;
    out.row_numel = row_numel(p);
    DType type = DType::kF32;
    if (p.kind != Kind::kConstant) {
      TRY_VOID(find_sources(p, out));
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
  static constexpr const char* kBlocks = "_blocks";
  static constexpr const char* kScales = "_scales";

  // "name" stands behind the model's prefix; "/name" in front of it, or behind some outer parts of it: a head is
  // "lm_head.weight" in one checkpoint and "language_model.lm_head.weight" in the next.
  const StoredTensor* find_spelled(const std::string& name) const {
    if (!name.starts_with('/')) return files_.find(prefix_ + name);
    const std::string rest = name.substr(1);
    for (size_t outer = 0;; outer++) {
      if (const StoredTensor* t = files_.find(prefix_.substr(0, outer) + rest)) return t;
      outer = prefix_.find('.', outer);
      if (outer == prefix_.npos || outer + 1 == prefix_.size()) return nullptr;
    }
  }

  const StoredTensor* find(const Param& p, const std::string& name) const {
    if (const StoredTensor* t = find_spelled(name)) return t;
    const size_t at = p.also_from.empty() ? name.npos : name.find(p.also_from);
    return at == name.npos ? nullptr : find_spelled(std::string(name).replace(at, p.also_from.size(), p.also_to));
  }

  // Under its own name, else as blocks of mxfp4, else as parts. A kTied parameter may have none.
  Status find_sources(const Param& p, Placement& out) {
    if (const StoredTensor* t = find(p, p.name)) return whole(p, *t, out);
    if (p.kind == Kind::kTied) return {};
    if (p.kind == Kind::kExperts) {
      if (const StoredTensor* t = find(p, p.name + kBlocks)) return mxfp4(p, *t, out);
    }
    return p.parts.empty() ? missing(p.name) : parts(p, out);
  }

  Status whole(const Param& p, const StoredTensor& t, Placement& out) {
    const std::vector<int64_t> shape = stored_shape(p);
    out.columns = p.kind == Kind::kExperts ? p.input_first : p.kind == Kind::kHeads && p.head.transposed;
    out.interleaved = p.interleaved;
    const int64_t rows = numel(p.shape) / std::max<int64_t>(out.row_numel, 1);
    const int64_t stored_cols = shape.size() > 1 && p.kind != Kind::kVector ? shape.back() : out.row_numel;
    const int64_t matrix_rows = p.kind == Kind::kExperts ? shape[1] : shape[0];
    TRY(const SourceRows s, source(p, t, shape, 0, rows, stored_cols, matrix_rows));
    if (s.type == DType::kF8E4M3 && out.columns && p.kind == Kind::kExperts) return bad_type(t);
    out.sources = {s};
    return {};
  }

  Status parts(const Param& p, Placement& out) {
    const int64_t experts = p.kind == Kind::kExperts ? p.shape[0] : 1, k = std::max<int64_t>(out.row_numel, 1);
    int64_t row = 0;
    for (int64_t e = 0; e < experts; e++) {
      for (const Param::Part& part : p.parts) {
        const std::string name = expert_name(part.name, e);
        const StoredTensor* t = find(p, name);
        if (!t) return missing(name);
        std::vector<int64_t> shape = p.shape;
        if (p.kind == Kind::kExperts) shape.erase(shape.begin());
        shape[0] = part.rows;
        TRY(const SourceRows s, source(p, *t, shape, row, numel(shape) / k, k, part.rows));
        out.sources.push_back(s);
        row += s.rows;
      }
    }
    CHECK(row * k == numel(p.shape), p.name, row, k);
    return {};
  }

  Result<SourceRows> source(const Param& p, const StoredTensor& t, const std::vector<int64_t>& shape, int64_t first, int64_t rows, int64_t cols,
                            int64_t matrix_rows) {
    used.insert(t.name);
    if (!same_shape(p, t.shape, shape)) return wrong_shape(t, shape);
    if (!t.type) return bad_type(t);
    SourceRows s{first, rows, &t, *t.type, cols * (t.bytes / std::max<int64_t>(numel(t.shape), 1))};
    if (s.type != DType::kF8E4M3) return s;
    const bool products_only = p.kind == Kind::kExperts || p.kind == Kind::kHeads || (p.kind == Kind::kMatrix && !gathered_.count(p.tensor));
    if (!products_only) return bad_type(t);
    std::vector<int64_t> scale_shape = shape;
    scale_shape[shape.size() - 1] = blocks_of(shape.back());
    scale_shape[shape.size() - 2] = blocks_of(shape[shape.size() - 2]);
    s.matrix_rows = matrix_rows;
    TRY(s.scales, scales_of(t, t.name + "_scale_inv", scale_shape));
    if (!s.scales->type || *s.scales->type == DType::kF8E4M3)
      return unsupported(s.scales->file->path() + ": tensor " + s.scales->name + " has the type " + s.scales->dtype + "; scales are F32, BF16 or F16.");
    return s;
  }

  Status mxfp4(const Param& p, const StoredTensor& blocks, Placement& out) {
    const int64_t k = p.shape[2], groups = k / kMxfp4Group;
    const std::vector<int64_t> shape{p.shape[0], p.shape[1], groups, 16};
    used.insert(blocks.name);
    if (k % kMxfp4Group)
      return unsupported(blocks.file->path() + ": tensor " + blocks.name + " holds blocks of 32 inputs, but config.json asks for rows of " +
                         std::to_string(k) + ", which is no multiple of 32.");
    if (without_ones(blocks.shape) != without_ones(shape)) return wrong_shape(blocks, shape);
    if (blocks.dtype != "U8") return unsupported(blocks.file->path() + ": tensor " + blocks.name + " has the type " + blocks.dtype + "; blocks of mxfp4 are U8.");
    const std::string scales_name = blocks.name.substr(0, blocks.name.size() - std::string(kBlocks).size()) + kScales;
    TRY(const StoredTensor* scales, scales_of(blocks, scales_name, {p.shape[0], p.shape[1], groups}));
    if (scales->dtype != "U8") return unsupported(scales->file->path() + ": tensor " + scales->name + " has the type " + scales->dtype + "; scales of mxfp4 are U8.");
    out.interleaved = p.interleaved;
    out.sources = {{0, p.shape[0] * p.shape[1], &blocks, DType::kMxfp4, k / 2, scales, 0}};
    return {};
  }

  Result<const StoredTensor*> scales_of(const StoredTensor& t, const std::string& name, const std::vector<int64_t>& shape) {
    const StoredTensor* s = files_.find(name);
    if (!s) return not_found(t.file->path() + ": tensor " + t.name + " of type " + t.dtype + " needs its scales " + name + ", which are missing.");
    used.insert(s->name);
    if (without_ones(s->shape) != without_ones(shape)) return wrong_shape(*s, shape);
    return s;
  }

  Error missing(const std::string& name) const {
    const std::string full = name.starts_with('/') ? name.substr(1) : prefix_ + name;
    return not_found(files_.origin() + ": tensor " + full + " is missing: the model of config.json needs it.");
  }

  static Error wrong_shape(const StoredTensor& t, const std::vector<int64_t>& shape) {
    return invalid(t.file->path() + ": tensor " + t.name + " has the shape " + shape_text(t.shape) + ", config.json asks for " + shape_text(shape) + ".");
  }

  static Error bad_type(const StoredTensor& t) {
    return unsupported(t.file->path() + ": tensor " + t.name + " has the type " + t.dtype + "; BF16, F16 and F32 are supported" +
                       (t.type ? " here." : "."));
  }

  // Parts of different types meet in float32, which holds all.
  DType common_type(const Param& p, const std::vector<SourceRows>& sources) {
    if (sources.empty()) return DType::kF32;
    const DType first = sources[0].type;
    if (p.kind == Kind::kHeads && is_quantised(first)) return DType::kF32;
    for (const SourceRows& s : sources) {
      if (s.type == first) continue;
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
  const std::set<const Tensor*> gathered_;
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
  Planner planner(prefixes, files, params);
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

Result<WeightPlan> plan_dummy(const std::vector<Param>& params, DType type) {
  WeightPlan plan;
  const std::set<const Tensor*> gathered = tied_targets(params);
  for (const Param& p : params) {
    TRY_VOID(check_size(p));
    Placement out;
    out.param = &p;
    out.row_numel = row_numel(p);
    out.tensor = place_of(p, gathered.count(p.tensor) ? DType::kBF16 : dummy_type(p, type));
    out.alias = p.kind == Kind::kTied;
    out.columns = p.kind == Kind::kHeads && p.head.transposed;
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
  plan.piece_bytes.assign(1, 0);
  for (Placement& p : plan.placements) {
    if (p.alias) continue;
    const int64_t bytes = int64_t(p.tensor.bytes());
    if (p.mapped) {
      plan.mapped_bytes += bytes;
      continue;
    }
    const int64_t room = round_up(bytes, kAlign);
    if (plan.piece_bytes.back() > 0 && plan.piece_bytes.back() + room > plan.max_piece_bytes) plan.piece_bytes.push_back(0);
    p.piece = int(plan.piece_bytes.size()) - 1, p.offset = plan.piece_bytes.back();
    plan.piece_bytes.back() += room;
    plan.slab_bytes += room;
  }
}

std::string tensor_group(const WeightPlan& plan, const std::string& name, const std::map<std::string, std::string>& labels) {
  if (plan.used.count(name)) return "model";
  for (const auto& [prefix, label] : labels)
    if (name.starts_with(prefix)) return label;
  return "unused";
}

}  // namespace xylem
