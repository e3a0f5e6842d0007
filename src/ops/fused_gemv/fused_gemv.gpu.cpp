#include <algorithm>
#include <string>

#include "device/opencl/opencl_device.h"
#include "ops/fused_gemv/fused_gemv.h"

namespace xylem {
namespace {

constexpr int64_t kItems = 512, kStep = kItems / 4;           // WIDE_WG and STEP of fused_gemv.cl
constexpr int64_t kMostLoads = 8;                    // LOADS
constexpr int64_t kMostInputs = 6144;                // PART_X
constexpr int64_t kMostEach = 12, kMostNumbers = 48; // MADE; times X_PARTS: a work-item's registers

int64_t part_lines(const FusedGemv& a) { return FusedGemv::part_inputs(a.inputs(), a.y.rows()) / 2; }

struct Blocks {
  int64_t loads = 1, count = 1;
};
// A panel's part in equal blocks, of as many loads as fit into registers twice.
Blocks blocks_of(int64_t lines) {
  const int64_t loads = (lines + kStep - 1) / kStep, count = (loads + kMostLoads - 1) / kMostLoads;
  return {(loads + count - 1) / count, count};
}
int64_t part_x(const Blocks& b) { return b.loads * b.count * kStep * 2; }
int64_t each(const FusedGemv& a) { return ((a.input == FusedGemv::Input::kNormed ? a.inputs() : part_x(blocks_of(part_lines(a)))) + kItems - 1) / kItems; }
// X_PARTS. Phases whose input may come in parts share their code.
int64_t x_parts(const FusedGemv& a) { return a.input == FusedGemv::Input::kNormed ? std::max<int64_t>(a.x.rows(), 4) : a.x.rows(); }
bool whole(const FusedGemv& a, const Blocks& b) {
  const int64_t made = a.input == FusedGemv::Input::kNormed ? a.inputs() : part_x(b);
  return a.inputs() == a.y.rows() * part_x(b) && made == each(a) * kItems;
}
bool fits(const FusedGemv& a, const Device& d) {
  // On an Intel GPU some forms spill, and launches are not joined.
  return static_cast<const OpenClDevice&>(d).info().lanes != LaneMode::kIntel && a.w.rank == 2 && a.w.dtype == DType::kBF16 && a.round_x && a.inputs() % 2 == 0 && part_x(blocks_of(part_lines(a))) <= kMostInputs && each(a) <= kMostEach && each(a) * x_parts(a) <= kMostNumbers;
}

void run(const FusedGemv& a, Device& d) {
  check(a);
  OpenClDevice& g = gpu(d);
  const int64_t K = a.inputs(), N = a.w.outputs(), parts = a.y.rows(), panels = (a.y.cols() + kPanel - 1) / kPanel;  // or pairs of them
  CHECK(fits(a, d) && N < INT32_MAX - 64, K, N, parts);
  const Blocks b = blocks_of(part_lines(a));
  const int64_t all = std::max(g.info().phase_groups, g.info().compute_units), groups = std::clamp<int64_t>(all / parts, 1, panels);
  // Where there is no norm or scale, other numbers are loaded, and nothing is done with them.
  const Tensor &x_w = a.x_w ? a.x_w : a.w, &h_w = a.h_w ? a.h_w : a.w, &scale = a.scale ? a.scale : a.w;
  std::string options = "-DINPUT=" + std::to_string(int(a.input));
  const auto set = [&](const char* name, int64_t v) { options += std::string(" -D") + name + "=" + std::to_string(v); };
  set("X_PARTS", x_parts(a)), set("LOADS", b.loads), set("COUNT", b.count), set("MADE", each(a)), set("GATED_Y", a.gated_y), set("WHOLE", whole(a, b));
  if (g.info().lanes != LaneMode::kNvidia) set("X_W", bool(a.x_w)), set("H_W", bool(a.h_w));
  if (a.gated_y || a.input == FusedGemv::Input::kGated) set("ACT", int(a.act));
  g.launch(g.kernel("fused_gemv.cl", "fused_gemv", options), {{size_t(groups * parts), 1, 1}, size_t(kItems)}, a.x, a.sum, a.up, x_w, a.from, a.r, scale, h_w, a.h, a.w, a.bias, a.y,
           int64_t(a.x.stride[0]), int64_t(a.y.stride[0]), int(a.x.rows()), int(bool(a.x_w)), int(bool(a.h_w)), int(bool(a.sum)), int(bool(a.scale)), int(bool(a.h)),
           int(bool(a.bias)), int(K), int(a.y.cols()), int(K / 2), int(part_lines(a)), int(groups), int(panels / groups), int(panels % groups), a.limit,
           a.eps, a.w_offset, 1.0f / float(K), 1.0f / float(groups));
}
const Kernel<FusedGemv> k(Dev::kOpenCl, "wide", 10, fits, run, "bf16 weights and inputs, an even number of them, at most 6144 of a part or norm");

}  // namespace
}  // namespace xylem
