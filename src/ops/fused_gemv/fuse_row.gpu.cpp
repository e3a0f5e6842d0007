// Puts fused calls in place of neighbours in plans of one row, for devices that join launches: there a call costs a wait of all
// work-groups for each other, which takes as long as reading several megabytes. The stream of ResidualNorm then alternates
// between its own memory and another, since all work-groups of a fused call read it while one writes it.
#include <algorithm>
#include <map>
#include <optional>

#include "device/opencl/plan_rewrite.h"
#include "ops/fused_gemv/fused_gemv.h"
#include "ops/gate_up/gate_up.h"
#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/matmul.h"
#include "ops/residual_norm/residual_norm.h"

namespace xylem {
namespace {

using Input = FusedGemv::Input;

class RowFuser {
 public:
  RowFuser(const Plan& plan, OpenClDevice& d, std::vector<Buffer>& memory)
      : plan_(plan), device_(d), memory_(memory), groups_(std::max(d.info().phase_groups, d.info().compute_units)) {}

  Plan run() {
    for (size_t i = 0; i < plan_.size(); i++) {
      if (const auto* n = call_of<ResidualNorm>(plan_[i])) {
        if (const auto fused = normed(i, bool(parts_of(n->x)))) {
          at_[n->r.data] = fused->r;
          emit(*fused, ++i);
        } else {
          ResidualNorm moved = *n;
          if (const Tensor at = at_of(n->r); at.data != n->r.data) moved.from = at;
          at_.erase(n->r.data);
          out_.push_back(bind(select_kernel(moved, device_), moved));
        }
      } else if (const auto fused = product(i)) {
        emit(*fused, i);
      } else {
        out_.push_back(plan_[i]);
      }
    }
    return std::move(out_);
  }

 private:
  // Where the fused call before this one left the parts of a tensor.
  Tensor parts_of(const Tensor& t) const { return t.data == left_.data ? left_parts_ : Tensor{}; }
  Tensor at_of(const Tensor& stream) const {
    const auto it = at_.find(stream.data);
    return it == at_.end() ? stream : it->second;
  }

  bool runs(const FusedGemv& a) const { return find_kernel(a, device_) != nullptr; }
  // The product i of one row of x as it is.
  std::optional<FusedGemv> plain(size_t i) const {
    FusedGemv a;
    if (const auto* m = i < plan_.size() ? call_of<MatMul>(plan_[i]) : nullptr) {
      a.x = m->x, a.w = m->w, a.bias = m->bias, a.y = m->y, a.round_x = m->round_x;
    } else if (const auto* g = i < plan_.size() ? call_of<GateUp>(plan_[i]) : nullptr) {
      a.x = g->x, a.w = g->w, a.bias = g->bias, a.y = g->y, a.gated_y = true, a.act = g->act, a.limit = g->limit, a.round_x = g->round_x;
    }
    return a.x && a.x.rows() == 1 && a.w.rank == 2 ? std::optional(a) : std::nullopt;
  }

  // ResidualNorm i and the product that reads what it makes. parts: whether its input comes in parts, in memory of their own.
  std::optional<FusedGemv> normed(size_t i, bool parts) {
    const auto* n = i < plan_.size() ? call_of<ResidualNorm>(plan_[i]) : nullptr;
    std::optional<FusedGemv> m = plain(i + 1);
    if (!n || !m || n->x.rows() != 1 || n->z || n->from || n->outputs() > 1) return std::nullopt;
    if (m->x.data != (n->outputs() ? n->y[0] : n->r).data || (!parts && overlap(n->x, m->y))) return std::nullopt;
    const Tensor from = at_of(n->r), to = from.data == n->r.data ? other(n->r) : n->r;
    // Whoever sees the stream next must know where it is.
    if (!to || (to.data != n->r.data && !next_is_norm(i + 2, n->r))) return std::nullopt;
    FusedGemv& a = *m;
    a.input = Input::kNormed, a.x = n->x, a.x_w = n->x_w, a.from = from, a.r = to, a.scale = n->scale, a.eps = n->eps, a.w_offset = n->w_offset;
    if (n->outputs()) a.h = n->y[0], a.h_w = n->y_w[0];
    if (!runs(a)) return std::nullopt;
    return m;
  }
  bool next_is_norm(size_t i, const Tensor& stream) const {
    for (; i < plan_.size(); i++) {
      if (!touches(plan_[i], stream)) continue;
      const auto* n = call_of<ResidualNorm>(plan_[i]);
      return n && n->r.data == stream.data && n->x.rows() == 1 && !n->from;
    }
    return false;
  }

  // Another product of one row, where its rows of outputs keep all work-groups busy or the next call adds up parts.
  std::optional<FusedGemv> product(size_t i) {
    FusedGemv a;
    if (const auto p = plain(i)) {
      a = *p;
    } else if (const auto* g = call_of<GatedMatMul>(plan_[i]); g && g->gate.rows() == 1 && g->w.rank == 2) {
      a.input = Input::kGated, a.x = g->gate, a.up = g->up, a.act = g->act, a.limit = g->limit, a.w = g->w, a.bias = g->bias, a.y = g->y, a.round_x = g->round_x;
    } else {
      return std::nullopt;
    }
    const int64_t panels = (a.w.outputs() + kPanel - 1) / kPanel, busiest = (panels + groups_ - 1) / groups_;
    const bool splits = takes_parts(i + 1, a.y);
    if (!parts_of(a.x) && !splits && busiest * groups_ * 2 > panels * 3) return std::nullopt;
    FusedGemv as_emitted = a;
    if (splits) as_emitted.y = of_parts(a);
    if (!runs(as_emitted)) return std::nullopt;
    return a;
  }
  bool takes_parts(size_t i, const Tensor& y) {
    if (i >= plan_.size()) return false;
    if (const auto* n = call_of<ResidualNorm>(plan_[i])) return n->x.data == y.data && normed(i, true);
    const auto* g = call_of<GatedMatMul>(plan_[i]);
    if (!g || g->gate.data != y.data || g->gate.cols() != y.cols() || g->gate.rows() != 1 || overlap(g->up, y)) return false;
    FusedGemv a;
    a.input = Input::kGated, a.x = g->gate, a.up = g->up, a.w = g->w, a.y = g->y, a.act = g->act;
    return runs(a);
  }

  // The parts that a product leaves to a call that adds them up, without memory.
  Tensor of_parts(const FusedGemv& a) const {
    const int64_t n = a.w.outputs();
    return make_tensor(nullptr, DType::kF32, {fused_gemv_parts(n, a.w.cols(), groups_), n});
  }
  // i: the last call that it stands for.
  void emit(FusedGemv a, size_t i) {
    if (const Tensor parts = parts_of(a.x)) {
      if (!overlap(a.x, a.y)) a.sum = a.x;
      a.x = parts;
    }
    const Tensor y = a.y;
    left_ = {};
    if (takes_parts(i + 1, y)) {
      FusedGemv split = a;
      split.y = of_parts(a);
      if (runs(split) && (split.y.data = parts_memory(split.y.bytes()))) a = split, left_ = y, left_parts_ = split.y;
    }
    out_.push_back(bind(select_kernel(a, device_), a));
  }

  Tensor other(const Tensor& stream) {
    void*& p = others_[stream.data];
    if (!p) p = own(stream.bytes());
    Tensor t = stream;
    t.data = p;
    return t;
  }
  // Not that of the parts which are read meanwhile.
  void* parts_memory(size_t bytes) {
    auto& [memory, size] = parts_[turn_ ^= 1];
    if (bytes > size) memory = own(bytes), size = memory ? bytes : 0;
    return memory;
  }
  void* own(size_t bytes) { return memory_.emplace_back(device_, bytes).data(); }

  const Plan& plan_;
  OpenClDevice& device_;
  std::vector<Buffer>& memory_;
  const int64_t groups_;
  Plan out_;
  Tensor left_, left_parts_;
  std::map<const void*, Tensor> at_;    // by a stream's own memory: where it is now, if elsewhere
  std::map<const void*, void*> others_;
  std::pair<void*, size_t> parts_[2]{};
  int turn_ = 0;
};

const RegisterPlanRewrite rewrite([](Plan plan, OpenClDevice& d, std::vector<Buffer>& memory) { return RowFuser(with_gate_up(std::move(plan), d), d, memory).run(); });

}  // namespace
}  // namespace xylem
