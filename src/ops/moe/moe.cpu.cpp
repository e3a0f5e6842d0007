// Tokens are sorted by expert; each chosen expert's two matrices are read once, by work items of (expert, panels),
// which threads take one by one: also when one expert has most tokens. A token's result does not depend on the other
// tokens, nor on the number of threads: see matmul_micro.h for the products; the experts' sum runs in the order of the
// token's list.
#include "ops/moe/moe.h"

#include <algorithm>
#include <cstring>

#include "ops/matmul/matmul_product.h"

#define XYLEM_VEC_BODY "ops/act_mul/act_mul.vec.h"
#include "ops/vec_math.h"

namespace xylem {
namespace {

// Part of a row of ActMul, for one instruction set, by activation.
using ActPiece = void (*)(const ActMul& a, int64_t row, int64_t begin, int64_t n);

// Memory of one call, cut from the device's scratch.
class Cutter {
 public:
  explicit Cutter(std::byte* p) : p_(p) {}
  template <class T>
  T* take(size_t n) {
    auto* r = reinterpret_cast<T*>(p_ + used_);
    used_ += (n * sizeof(T) + 63) / 64 * 64;
    return r;
  }
  size_t used() const { return used_; }

 private:
  std::byte* p_;
  size_t used_ = 0;
};

// A row is one (token, choice); rows of one expert are consecutive.
struct Plan {
  int64_t T, k, E, H, I, rows;
  const Micro* micro;
  ActPiece act;
  int n_threads;
  int32_t *begin, *token, *row_of;  // [E + 1] first row of each expert; [rows] its token; [T * k] the row of a choice
  PackedX x, mid;                   // [rows, H], [rows, I]
  float *gate_up, *out;             // [rows, 2I], [rows, H]
  std::byte* work;                  // kProductBytes a thread

  size_t cut(std::byte* memory) {
    Cutter c(memory);
    begin = c.take<int32_t>(size_t(E) + 1), token = c.take<int32_t>(size_t(rows)),
    row_of = c.take<int32_t>(size_t(rows));
    x.data = c.take<std::byte>(x.bytes()), mid.data = c.take<std::byte>(mid.bytes());
    gate_up = c.take<float>(size_t(rows * 2 * I)), out = c.take<float>(size_t(rows * H));
    work = c.take<std::byte>(kProductBytes * size_t(n_threads));
    return c.used();
  }
};

void sort_by_expert(const MoeExperts& a, const Plan& p) {
  const auto* ids = a.ids.as<int32_t>();
  std::fill_n(p.begin, p.E + 1, 0);
  for (int64_t i = 0; i < p.rows; i++) {
    CHECK(ids[i] >= 0 && ids[i] < p.E, ids[i], p.E);
    p.begin[ids[i] + 1]++;
  }
  for (int64_t e = 0; e < p.E; e++) p.begin[e + 1] += p.begin[e];
  for (int64_t i = 0; i < p.rows; i++) {
    const int32_t row = p.begin[ids[i]]++;  // afterwards begin[e] is the first row of e + 1
    p.token[row] = int32_t(i / p.k), p.row_of[i] = row;
  }
  std::memmove(p.begin + 1, p.begin, size_t(p.E) * sizeof(int32_t));
  p.begin[0] = 0;
}

// One matrix of every expert that has rows: items of some panels, taken from the pool's counter from `first` on.
// Returns where the next phase's items start: every thread takes exactly one item too many.
int64_t experts_product(const Plan& p, const CpuThread& t, const PackedX& x, const Tensor& w, const Tensor& bias,
                        float* y, int64_t y_stride, int64_t first) {
  const int64_t N = w.dim[1], K = w.dim[2], panels = (N + kPanel - 1) / kPanel;
  const auto expert_bytes = size_t(packed_bytes(N, K, w.dtype));
  // Several items a thread and expert where few experts are chosen; whole cache blocks where rows are many.
  const int64_t unit = std::clamp<int64_t>(panels / (4 * t.n_threads), p.micro->panels, 4 * p.micro->panels);
  const int64_t per_expert = (panels + unit - 1) / unit;
  int64_t expert = 0, before = 0;  // items of chosen experts before this one
  int64_t item = t.pool->next_item().fetch_add(1, std::memory_order_relaxed) - first;
  for (; expert < p.E; expert++) {
    const int64_t row = p.begin[expert], rows = p.begin[expert + 1] - row;
    if (rows == 0) continue;
    for (; item < before + per_expert; item = t.pool->next_item().fetch_add(1, std::memory_order_relaxed) - first) {
      const int64_t q = (item - before) * unit;
      product({p.micro, x, row, rows, w.as<std::byte>() + size_t(expert) * expert_bytes, w.dtype, N,
               bias ? bias.row(expert) : nullptr, y + row * y_stride, y_stride},
              q, std::min(q + unit, panels), p.work + kProductBytes * size_t(t.thread));
    }
    before += per_expert;
  }
  return first + before + t.n_threads;
}

void pack_tokens(const MoeExperts& a, const Plan& p, const CpuThread& t) {
  const auto r = t.range(p.rows * p.x.blocks());
  for (int64_t i = r.begin; i < r.end; i++) {
    const int64_t row = i / p.x.blocks();
    p.x.pack(*p.micro, a.x.row(p.token[row]), i % p.x.blocks(), row);
  }
}

void pack_middle(const MoeExperts& a, const Plan& p, const CpuThread& t) {
  ActMul act;
  act.gate = act.up = act.y = make_tensor(p.gate_up, DType::kF32, {p.rows, 2 * p.I});
  act.up.data = p.gate_up + p.I, act.act = a.act, act.limit = a.limit;
  const auto r = t.range(p.rows * p.mid.blocks());
  for (int64_t i = r.begin; i < r.end; i++) {
    const int64_t row = i / p.mid.blocks(), block = i % p.mid.blocks(), j = block * kBlockK;
    p.act(act, row, j, std::min(kBlockK, p.I - j));
    p.mid.pack(*p.micro, act.y.row(row), block, row);
  }
}

void sum_experts(const MoeExperts& a, const Plan& p, const CpuThread& t) {
  constexpr int64_t kPiece = 512;
  const int64_t pieces = (p.H + kPiece - 1) / kPiece;
  const auto r = t.range(p.T * pieces);
  for (int64_t i = r.begin; i < r.end; i++) {
    const int64_t token = i / pieces, h = i % pieces * kPiece, n = std::min(kPiece, p.H - h);
    float* y = a.y.row(token) + h;
    for (int64_t c = 0; c < p.k; c++) {
      const float* out = p.out + p.row_of[token * p.k + c] * p.H + h;
      const float weight = a.weights.as()[token * p.k + c];
      if (c == 0)
        for (int64_t j = 0; j < n; j++) y[j] = out[j] * weight;
      else
        for (int64_t j = 0; j < n; j++) y[j] += out[j] * weight;
    }
  }
}

void run(const MoeExperts& a, Device& d, const Micro& micro, const ActPiece* act) {
  CpuDevice& dev = cpu(d);
  Plan p;
  p.T = a.x.rows(), p.k = a.ids.cols(), p.E = a.gate_up.dim[0], p.H = a.x.cols(), p.I = a.down.dim[2],
  p.rows = p.T * p.k;
  if (p.T == 0) return;
  p.micro = &micro, p.act = act[size_t(a.act)];
  p.x = {nullptr, p.rows, p.H, micro.x_bytes}, p.mid = {nullptr, p.rows, p.I, micro.x_bytes};
  CHECK(a.gate_up.dtype == a.down.dtype, dtype_name(a.gate_up.dtype), dtype_name(a.down.dtype));
  const double chosen = double(std::min(p.rows, p.E)) / double(p.E);
  p.n_threads = product_threads(dev.pool().size(), chosen * double(a.gate_up.bytes() + a.down.bytes()),
                                3.0 * double(p.rows) * double(p.H) * double(p.I));
  p.cut(static_cast<std::byte*>(dev.scratch(p.cut(nullptr))));
  sort_by_expert(a, p);
  dev.pool().run(p.n_threads, [&](CpuThread t) {
    pack_tokens(a, p, t);
    t.barrier();
    const int64_t next = experts_product(p, t, p.x, a.gate_up, a.gate_up_bias, p.gate_up, 2 * p.I, 0);
    t.barrier();
    pack_middle(a, p, t);
    t.barrier();
    experts_product(p, t, p.mid, a.down, a.down_bias, p.out, p.H, next);
    t.barrier();
    sum_experts(a, p, t);
  });
}

const Kernel<MoeExperts> portable_kernel(Dev::kCpu, "portable", 10, nullptr, [](const MoeExperts& a, Device& d) {
  run(a, d, table_micro(portable_micros(), a.down.dtype, a.round_x), portable::kPieces);
});
#if defined(__x86_64__)
bool supports_bf16(const MoeExperts& a, const Device& d) {
  return cpu_isa(d) >= Isa::kAvx512Bf16 && a.round_x && a.down.dtype == DType::kBF16;
}
const Kernel<MoeExperts> avx2_kernel(Dev::kCpu, "avx2", 20, has_isa<Isa::kAvx2>, [](const MoeExperts& a, Device& d) {
  run(a, d, table_micro(avx2_micros(), a.down.dtype, a.round_x), avx2::kPieces);
});
const Kernel<MoeExperts> avx512_kernel(Dev::kCpu, "avx512", 30, has_isa<Isa::kAvx512>,
                                       [](const MoeExperts& a, Device& d) {
                                         run(a, d, table_micro(avx512_micros(), a.down.dtype, a.round_x),
                                             avx512::kPieces);
                                       });
const Kernel<MoeExperts> avx512_bf16_kernel(Dev::kCpu, "avx512_bf16", bf16_dots_priority(), supports_bf16,
                                            [](const MoeExperts& a, Device& d) {
                                              run(a, d, avx512_bf16_micro(), avx512::kPieces);
                                            });
#endif

}  // namespace
}  // namespace xylem
