// Nothing returns to the host: it enqueues as many tasks as any routing could need; those beyond the device's own count
// end at once. One token needs no sorting: every choice is a task.
#include <algorithm>

#include "ops/matmul/gpu_product.h"
#include "ops/moe/moe.h"

namespace xylem {
namespace {

constexpr const char* kOptions = "-DMOE_EXPERTS=2048";  // moe_sort counts them in local memory
constexpr int64_t kMostExperts = 2048;
constexpr size_t kGroup = 128;

// An expert has more rows than the average as often as fewer.
GpuForm expert_mma_form(const MoeExperts& a, int64_t rows, const OpenClInfo& d) {
  const int64_t E = a.gate_up.dim[0];
  return mma_form(rows / E * 5 / 4 + 1, E, std::min(a.x.cols(), 2 * a.down.dim[2]), d);
}
GpuForm form_of(const MoeExperts& a, int64_t rows, const OpenClInfo& d) {
  const int64_t T = a.x.rows(), rows_an_expert = rows / a.gate_up.dim[0];
  if (T == 1) return GpuForm::kGemv1;
  if (d.lanes == LaneMode::kNvidia && rows_an_expert <= 8 && form_suits(GpuForm::kSkinny8, a.gate_up.dtype, a.round_x)) return GpuForm::kSkinny8;
  const bool fragments = d.lanes != LaneMode::kNvidia && form_suits(GpuForm::kMad, a.gate_up.dtype, a.round_x);  // as of MatMul
  if (rows_an_expert < 2) return GpuForm::kGemv4;
  if (d.lanes == LaneMode::kNvidia && rows_an_expert > 8 && form_suits(GpuForm::kMmaWide, a.gate_up.dtype, a.round_x)) return expert_mma_form(a, rows, d);
  if (rows_an_expert <= 8) return fragments ? GpuForm::kMadSkinny : GpuForm::kGemv8;
  if (rows_an_expert <= 16 && fragments) return GpuForm::kMadSkinny2;
  return fragments ? GpuForm::kMad : GpuForm::kTile;
}

// Memory of one call, cut from the device's scratch in pieces of 64 bytes.
struct Workspace {
  size_t order = 0, tasks = 0, gate_up = 0, mid = 0, outs = 0, rounded = 0, bytes = 0;
  Workspace(int64_t rows, int64_t n_tasks, int64_t H, int64_t I, size_t rounded_x) {
    order = take(size_t(rows) * 4), tasks = take(size_t(n_tasks + 1) * 16), rounded = take(rounded_x);
    gate_up = take(size_t(rows * 2 * I) * 4), mid = take(size_t(rows * I) * 4), outs = take(size_t(rows * H) * 4);
  }

 private:
  size_t take(size_t n) {
    const size_t at = bytes;
    bytes += (n + 63) / 64 * 64;
    return at;
  }
};

bool supports(const MoeExperts& a, const Device&) {
  return a.gate_up.dtype == a.down.dtype && a.gate_up.dim[0] <= kMostExperts && a.ids.contiguous() && a.weights.contiguous() &&
         (!a.gate_up_bias || a.gate_up_bias.contiguous()) && (!a.down_bias || a.down_bias.contiguous());
}

void run_form(const MoeExperts& a, OpenClDevice& g, GpuForm form) {
  const int64_t T = a.x.rows(), k = a.ids.cols(), E = a.gate_up.dim[0], H = a.x.cols(), I = a.down.dim[2], rows = T * k;
  if (rows == 0) return;
  CHECK(rows < INT32_MAX / 2 && 2 * I < INT32_MAX / 2 && H < INT32_MAX / 2, rows, I, H);
  const int64_t tile = form_rows(form), n_tasks = std::min(rows, E) + rows / tile;
  const Workspace space(rows, n_tasks, H, I, std::max(rounded_bytes(form, T, H), rounded_bytes(form, rows, I)));
  auto* memory = static_cast<std::byte*>(g.scratch(space.bytes));
  const auto at = [&](size_t offset, int64_t cols) { return make_tensor(memory + offset, DType::kF32, {rows, cols}); };
  const Tensor gate_up = at(space.gate_up, 2 * I), mid = at(space.mid, I), outs = at(space.outs, H);

  GpuProduct p;
  p.rows = int(rows), p.round_x = a.round_x, p.rounded = memory + space.rounded;
  if (T == 1) {
    p.route = GpuRoute::kRow, p.ids = a.ids;
  } else {
    p.route = GpuRoute::kSorted, p.order = memory + space.order, p.tasks = memory + space.tasks, p.n_tasks = int(n_tasks);
    g.launch(g.kernel("moe.cl", "moe_sort", kOptions), {{1, 1, 1}, 512}, a.ids, int(rows), int(E), int(tile), p.order, p.tasks);
  }
  p.x = a.x, p.x_div = int(k), p.w = a.gate_up, p.bias = a.gate_up_bias, p.y = gate_up;
  gpu_product(p, form, g);
  g.launch(g.kernel("moe.cl", "moe_act", kOptions), {{size_t(I + kGroup - 1) / kGroup, size_t(rows), 1}, kGroup}, gate_up, mid, int(I), int(a.act), a.limit);
  p.x = mid, p.x_div = 1, p.w = a.down, p.bias = a.down_bias, p.y = outs;
  gpu_product(p, form, g);
  g.launch(g.kernel("moe.cl", "moe_sum", kOptions), {{size_t(H + kGroup - 1) / kGroup, size_t(T), 1}, kGroup}, outs, a.weights, a.y, Rows(a.y), int(k), int(H));
}
void run(const MoeExperts& a, Device& d) { run_form(a, gpu(d), form_of(a, a.ids.numel(), gpu(d).info())); }

// The other choices of form_of on an NVIDIA GPU, so that they are tested wherever the emulation runs.
bool supports_mma(const MoeExperts& a, const Device& d) {
  return supports(a, d) && a.x.rows() > 1 && runs_mma(static_cast<const OpenClDevice&>(d).info()) && form_suits(GpuForm::kMmaWide, a.gate_up.dtype, a.round_x);
}
void run_mma(const MoeExperts& a, Device& d) { run_form(a, gpu(d), expert_mma_form(a, a.ids.numel(), gpu(d).info())); }
void run_skinny(const MoeExperts& a, Device& d) { run_form(a, gpu(d), GpuForm::kSkinny8); }
const Kernel<MoeExperts> skinny_kernel(Dev::kOpenCl, "grouped_skinny", 4, supports_mma, run_skinny);
const Kernel<MoeExperts> mma_kernel(Dev::kOpenCl, "grouped_mma", 5, supports_mma, run_mma);
const Kernel<MoeExperts> kernel(Dev::kOpenCl, "grouped", 10, supports, run, "at most 2048 experts, their matrices of one type");

}  // namespace
}  // namespace xylem
