#include <algorithm>
#include <string>

#include "ops/matmul/gpu_product.h"
#include "ops/matmul/matmul.h"

namespace xylem {
namespace {

struct Form {
  const char *file, *entry, *options;
  int rows, columns;
  int warps = 0;       // of the mma forms
  bool rounds = false;  // x is rounded by a launch of its own
};
// Indexed by GpuForm. The mad forms' columns are per lane of a sub-group.
const Form& form_of(GpuForm f) {
  static constexpr Form kForms[] = {
      {"matmul_gemv.cl", "matmul_gemv", "-DROWS=1", 1, 16},
      {"matmul_gemv.cl", "matmul_gemv", "-DROWS=4", 4, 16},
      {"matmul_gemv.cl", "matmul_gemv", "-DROWS=8", 8, 16},
      {"matmul_tile.cl", "matmul_tile", "", 64, 64},
      {"matmul_mad.cl", "matmul_mad", "-DSGM=1 -DSGN=1 -DSGK=8 -DTM=1 -DTN=1 -DU=4", 8, 1},
      {"matmul_mad.cl", "matmul_mad", "-DSGM=1 -DSGN=1 -DSGK=8 -DTM=2 -DTN=1 -DU=2", 16, 1},
      {"matmul_mad.cl", "matmul_mad", "-DSGM=2 -DSGN=4 -DSGK=1 -DTM=4 -DTN=2 -DU=2", 64, 8},
      {"matmul_mma.cl", "matmul_mma", "-DWM=1 -DWN=2 -DWK=2 -DTM=2 -DTN=1 -DSTAGES=4 -DFLOATS=1", 32, 64, 4},
      {"matmul_mma.cl", "matmul_mma", "-DWM=1 -DWN=2 -DWK=2 -DTM=4 -DTN=1 -DSTAGES=4 -DFLOATS=1", 64, 64, 4},
      {"matmul_mma.cl", "matmul_mma", "-DWM=2 -DWN=2 -DWK=1 -DTM=2 -DTN=2 -DSTAGES=3 -DFLOATS=0", 64, 128, 4, true},
      {"matmul_mma.cl", "matmul_mma", "-DWM=2 -DWN=4 -DWK=1 -DTM=4 -DTN=2 -DSTAGES=2 -DFLOATS=0", 128, 256, 8, true},
      {"matmul_skinny.cl", "matmul_skinny", "", 8, 16},
      {"matmul_skinny.cl", "matmul_skinny", "", 16, 16},
      {"matmul_wide.cl", "matmul_wide", "", 8, 16},
      {"matmul_wide.cl", "matmul_wide", "", 16, 16},
  };
  return kForms[int(f)];
}
bool is_gemv(GpuForm f) { return f <= GpuForm::kGemv8; }
bool is_mad(GpuForm f) { return f >= GpuForm::kMadSkinny && f <= GpuForm::kMad; }
bool is_mma(GpuForm f) { return f >= GpuForm::kMmaFew32 && f <= GpuForm::kMmaWide; }
bool is_skinny(GpuForm f) { return f == GpuForm::kSkinny8 || f == GpuForm::kSkinny16; }
bool is_wide(GpuForm f) { return f >= GpuForm::kWide8; }

int weight_type(DType t) {  // WT of packed.clh
  switch (t) {
    case DType::kBF16: return 0;
    case DType::kF16: return 1;
    case DType::kF32: return 2;
    case DType::kF8E4M3: return 3;
    case DType::kMxfp4: return 4;
    default: CHECK(false, dtype_name(t)); return 0;
  }
}

// Over how many work-groups K is split: where panels are too few to keep the device reading and long enough to share.
int64_t gemv_parts(int64_t groups, int64_t bytes_of_panel, const OpenClInfo& d) {
  const int64_t wanted = d.lanes == LaneMode::kIntel ? d.compute_units : d.lanes == LaneMode::kNvidia ? 4 * d.compute_units : 16;
  if (groups * 2 > wanted) return 1;
  return std::clamp<int64_t>(std::min(wanted / groups, bytes_of_panel / (32 << 10)), 1, 32);
}

}  // namespace

int form_rows(GpuForm f) { return form_of(f).rows; }
bool form_suits(GpuForm f, DType weights, bool round_x) {
  if (is_wide(f)) return round_x && weights == DType::kBF16;
  if (is_mma(f) || is_skinny(f)) return round_x && (weights == DType::kBF16 || is_quantised(weights));
  return !is_mad(f) || (weights == DType::kBF16 && round_x);
}
bool runs_mma(const OpenClInfo& d) { return d.lanes != LaneMode::kIntel; }
bool form_runs(GpuForm f, DType weights, bool round_x, const OpenClInfo& d) {
  if ((is_mma(f) || is_skinny(f) || is_wide(f)) && !runs_mma(d)) return false;
  if (is_mad(f) && d.lanes == LaneMode::kNvidia) return false;  // fragments through shuffles: never the fastest
  return form_suits(f, weights, round_x);
}
GpuForm mma_form(int64_t rows, int64_t matrices, int64_t outputs, const OpenClInfo& d) {
  if (rows <= 32) return GpuForm::kMmaFew32;
  if (rows <= 64) return GpuForm::kMmaFew64;
  const int64_t wide = (rows + 127) / 128 * ((outputs + 255) / 256) * matrices;  // work-groups of the largest tile, 5 for 8 compute units at least
  return wide * 8 >= int64_t(d.compute_units) * 5 ? GpuForm::kMmaWide : GpuForm::kMmaMid;
}
size_t rounded_bytes(GpuForm f, int64_t x_rows, int64_t inputs) { return form_of(f).rounds ? size_t(x_rows * round_up(inputs, 64)) * 2 : 0; }

namespace {

// Over how many work-groups a product of few tiles shares K: each takes 8 steps at least.
int64_t mma_parts(int64_t groups, int64_t steps, const OpenClInfo& d) {
  const int64_t wanted = d.lanes == LaneMode::kNvidia ? d.compute_units * 3 / 2 : 4;
  return groups * 2 > wanted ? 1 : std::clamp<int64_t>(std::min(wanted / groups, steps / 8), 1, 32);
}

void mma_product(const GpuProduct& p, GpuForm form, OpenClDevice& g) {
  const Form& f = form_of(form);
  const int64_t N = p.w.outputs(), K = p.w.cols(), tasks = p.route == GpuRoute::kSorted ? p.n_tasks : (p.rows + f.rows - 1) / f.rows;
  const bool narrow = form == GpuForm::kMmaWide && p.w.dtype == DType::kF8E4M3;  // sums of groups take registers
  const int64_t columns = narrow ? f.columns / 2 : f.columns, groups_n = (N + columns - 1) / columns, warps_k = f.rounds ? 1 : 2;
  const int64_t steps = (K + 32 * warps_k - 1) / (32 * warps_k), x_rows = (p.rows + p.x_div - 1) / p.x_div;
  const int64_t wish = p.route == GpuRoute::kAll ? mma_parts(groups_n * tasks, steps, g.info()) : 1, part_steps = (steps + wish - 1) / wish;
  const int64_t parts = (steps + part_steps - 1) / part_steps, stride = parts > 1 ? int64_t(p.rows) * N : 0;
  std::string type = "-DWT=" + std::to_string(weight_type(p.w.dtype)), options = type + " " + f.options;
  if (narrow) options.replace(options.find("-DTN=2"), 6, "-DTN=1");
  const size_t rounded = rounded_bytes(form, x_rows, K), rounded_here = p.rounded ? 0 : rounded;
  CHECK(p.route != GpuRoute::kRow && (p.route == GpuRoute::kAll || rounded_here == 0));
  std::byte* memory = nullptr;
  if (const size_t bytes = rounded_here + size_t(parts > 1 ? parts * stride * 4 : 0)) {
    if (!(memory = static_cast<std::byte*>(g.scratch(bytes)))) return;  // sync() says so
  }
  Tensor x = p.x;
  if (rounded) {
    x.data = p.rounded ? p.rounded : memory;
    const int64_t pieces = x_rows * (round_up(K, 64) / 8);
    g.launch(g.kernel("matmul_round.cl", "matmul_round", type), {{size_t(pieces + 255) / 256, 1, 1}, 256}, p.x, Rows(p.x), int(x_rows), int(K), x.data);
  }
  const Tensor y = parts > 1 ? make_tensor(memory + rounded_here, DType::kF32, {p.rows, N}) : p.y;
  const int has_bias = bool(p.bias);
  g.launch(g.kernel(f.file, f.entry, options), {{size_t(groups_n), size_t(tasks), size_t(parts)}, size_t(32 * f.warps)}, x, Rows(p.x), p.x_div, p.w,
           int64_t(packed_bytes(N, K, p.w.dtype)), p.bias, parts > 1 ? 0 : has_bias, y, Rows(y), p.rows, int(N), int(K), int(p.route), p.ids, p.order, p.tasks, int(part_steps),
           stride);
  if (parts > 1)
    g.launch(g.kernel("matmul_sum.cl", "matmul_sum"), {{size_t(N + 255) / 256, size_t(p.rows), 1}, 256}, y, int(parts), stride, p.bias, has_bias, p.y, Rows(p.y), int(N));
}

}  // namespace

void gpu_product(const GpuProduct& p, GpuForm form, OpenClDevice& g) {
  if (p.rows == 0) return;
  const Form& f = form_of(form);
  const int64_t N = p.w.outputs(), K = p.w.cols();
  CHECK(p.x.cols() == K && p.y.cols() == (p.gated_y ? N / 2 : N) && (!p.gated_y || is_wide(form)) && N < INT32_MAX - 1024 && K < INT32_MAX - 65536, p.x.cols(), K, p.y.cols(), N);
  CHECK(p.w.dtype != DType::kMxfp4 || K % kMxfp4Group == 0, K);
  if (is_mma(form)) return mma_product(p, form, g);
  if (is_skinny(form)) return skinny_product(p, form, g);
  if (is_wide(form)) return wide_product(p, form, g);
  const int lanes = is_mad(form) ? g.info().sub_group : 1;
  const int64_t columns = f.columns * lanes, tasks = p.route == GpuRoute::kAll ? (p.rows + f.rows - 1) / f.rows : p.route == GpuRoute::kRow ? p.rows : p.n_tasks;
  const auto groups_n = size_t((N + columns - 1) / columns);
  const size_t group_size = is_gemv(form) ? 256 : is_mad(form) ? size_t(8 * lanes) : 128;
  const auto matrix = int64_t(packed_bytes(N, K, p.w.dtype));
  const bool counted = is_gemv(form) && g.info().lanes != LaneMode::kIntel;
  CHECK(!p.up || is_gemv(form));
  std::string options = is_mad(form) ? f.options : "-DWT=" + std::to_string(weight_type(p.w.dtype)) + " " + f.options;
  if (counted) options += " -DCOUNTED=1";
  if (p.up) options += " -DGATED=1";
  if (is_gemv(form) && f.rows > 1 && g.info().lanes == LaneMode::kIntel) options += " -cl-intel-256-GRF-per-thread";  // with 128 registers some spill
  const GpuKernel* kernel = g.kernel(f.file, f.entry, options);
  const int rows = p.rows, n = int(N), k = int(K), round_x = p.round_x, has_bias = bool(p.bias), route = int(p.route);
  if (!is_gemv(form)) {
    g.launch(kernel, {{groups_n, size_t(tasks), 1}, group_size}, p.x, Rows(p.x), p.x_div, p.w, matrix, p.bias, has_bias, p.y, Rows(p.y), rows, n, k, round_x, route, p.ids, p.order, p.tasks);
    return;
  }
  const int64_t lines = panel_lines(K, p.w.dtype);
  const int64_t wish = p.route == GpuRoute::kAll ? gemv_parts(int64_t(groups_n) * tasks, panel_bytes(K, p.w.dtype), g.info()) : 1;
  const int64_t part_lines = round_up((lines + wish - 1) / wish, 128), parts = (lines + part_lines - 1) / part_lines;  // 128 lines: whole groups of scales
  const int64_t stride = int64_t(rows) * N;
  void* sums = parts > 1 ? g.scratch(size_t(parts * stride) * sizeof(float)) : nullptr;
  void* counters = parts > 1 && counted ? g.counters(groups_n * size_t(tasks)) : nullptr;
  g.launch(kernel, {{groups_n, size_t(tasks), size_t(parts)}, group_size}, p.x, Rows(p.x), p.x_div, p.w, matrix, p.bias, has_bias, p.y, Rows(p.y), rows, n, k, round_x, route, p.ids, p.order,
           p.tasks, int(parts), int(part_lines), stride, sums, counters, p.up, Rows(p.up), int(p.act), p.limit);
  if (parts > 1 && !counted) {
    const Tensor all = make_tensor(sums, DType::kF32, {rows, N});
    g.launch(g.kernel("matmul_sum.cl", "matmul_sum"), {{size_t(N + 255) / 256, size_t(rows), 1}, 256}, all, int(parts), stride, p.bias, has_bias, p.y, Rows(p.y), n);
  }
}

namespace {

void run(const MatMul& a, Device& d, GpuForm form) {
  gpu_product(product_of(a), form, gpu(d));
}

bool mma(const MatMul& a, const Device& d) { return runs_mma(static_cast<const OpenClDevice&>(d).info()) && form_suits(GpuForm::kMmaWide, a.w.dtype, a.round_x); }
// Rows up to which reading the weights is what takes the time. Further tasks of 8 rows find them in the cache.
bool few_rows(const MatMul& a, const Device& d) {
  const OpenClInfo& info = static_cast<const OpenClDevice&>(d).info();
  const bool fragments = info.matrix && form_suits(GpuForm::kMad, a.w.dtype, a.round_x);
  return a.x.rows() <= (fragments ? 2 : info.lanes == LaneMode::kNvidia && mma(a, d) ? 1 : 32);
}
// Where fragments go through shuffles of lanes, those take more time than the tile's products.
bool fragments(const MatMul& a, const Device& d) {
  return static_cast<const OpenClDevice&>(d).info().lanes != LaneMode::kNvidia && form_suits(GpuForm::kMad, a.w.dtype, a.round_x);
}

const Kernel<MatMul> gemv_kernel(Dev::kOpenCl, "gemv", 30, few_rows, [](const MatMul& a, Device& d) {
  run(a, d, a.x.rows() == 1 ? GpuForm::kGemv1 : a.x.rows() <= 4 ? GpuForm::kGemv4 : GpuForm::kGemv8);
});
const Kernel<MatMul> mad_kernel(Dev::kOpenCl, "mad", 20, fragments, [](const MatMul& a, Device& d) {
  run(a, d, a.x.rows() <= 8 ? GpuForm::kMadSkinny : a.x.rows() <= 16 ? GpuForm::kMadSkinny2 : GpuForm::kMad);
});
const Kernel<MatMul> mma_kernel(Dev::kOpenCl, "mma", 15, mma, [](const MatMul& a, Device& d) { run(a, d, mma_form(a.x.rows(), 1, a.w.outputs(), gpu(d).info())); });
const Kernel<MatMul> tile_kernel(Dev::kOpenCl, "tile", 10, nullptr, [](const MatMul& a, Device& d) { run(a, d, GpuForm::kTile); });

}  // namespace
GpuProduct product_of(const MatMul& a) {
  GpuProduct p;
  p.x = a.x, p.w = a.w, p.bias = a.bias, p.y = a.y, p.round_x = a.round_x, p.rows = int(a.x.rows());
  return p;
}

}  // namespace xylem
