#include "ops/check_shape.h"
#include "ops/fused_gemv/fused_gemv.h"

#include <algorithm>

namespace xylem {

void check(const FusedGemv& a) {
  const int64_t K = a.w.cols(), N = a.w.outputs(), parts = a.y.rows();
  const auto row = [&](const Tensor& t, bool needed) { CHECK(t ? t.rows() == 1 && t.cols() == K && t.dtype == DType::kF32 : !needed, t.rows(), t.cols(), K); };
  const auto vector = [&](const Tensor& t, int64_t n) { CHECK(!t || (t.numel() == n && t.contiguous() && t.dtype == DType::kF32), t.numel(), n); };
  CHECK(a.w.layout == Layout::kPacked && a.w.rank == 2 && a.x.cols() == K && a.y.cols() == (a.gated_y ? N / 2 : N), a.x.cols(), K, a.y.cols(), N);
  CHECK(!a.gated_y || (a.input != FusedGemv::Input::kGated && parts == 1 && N % (2 * kPanel) == 0), N, parts);
  CHECK(parts >= 1 && (parts - 1) * FusedGemv::part_inputs(K, parts) < K, parts, K);
  row(a.sum, false), row(a.h, false), row(a.up, a.input == FusedGemv::Input::kGated);
  row(a.from, a.input == FusedGemv::Input::kNormed), row(a.r, a.input == FusedGemv::Input::kNormed);
  CHECK(!a.r || a.r.data != a.from.data);
  vector(a.x_w, K), vector(a.h_w, K), vector(a.scale, 1), vector(a.bias, N);
}

int64_t fused_gemv_parts(int64_t outputs, int64_t inputs, int64_t groups) {
  const int64_t panels = (outputs + kPanel - 1) / kPanel;
  int64_t best = 1, least = INT64_MAX;
  for (int64_t parts = 1; parts <= 4; parts++) {
    const int64_t of_part = FusedGemv::part_inputs(inputs, parts), each = groups / parts;
    if (each == 0 || (parts - 1) * of_part >= inputs) continue;
    // What the busiest work-group reads, in bytes, and what a part costs: its sums, read by all work-groups of the next call.
    const int64_t bytes = (panels + each - 1) / each * of_part * kPanel * 2 + (parts - 1) * 6000;
    if (bytes < least) least = bytes, best = parts;
  }
  return best;
}

}  // namespace xylem
