#include <algorithm>
#include <string>

#include "ops/matmul/gpu_product.h"
#include "ops/matmul/matmul.h"

namespace xylem {
namespace {

struct Form {
  const char *file, *entry, *options;
  int rows, columns;
};
// Indexed by GpuForm. The fragment kernels' columns are per lane of a sub-group.
const Form& form_of(GpuForm f) {
  static constexpr Form kForms[] = {
      {"matmul_gemv.cl", "matmul_gemv", "-DROWS=1", 1, 16},
      {"matmul_gemv.cl", "matmul_gemv", "-DROWS=4", 4, 16},
      {"matmul_gemv.cl", "matmul_gemv", "-DROWS=8", 8, 16},
      {"matmul_tile.cl", "matmul_tile", "", 64, 64},
      {"matmul_mad.cl", "matmul_mad", "-DSGM=1 -DSGN=1 -DSGK=8 -DTM=1 -DTN=1 -DU=4", 8, 1},
      {"matmul_mad.cl", "matmul_mad", "-DSGM=1 -DSGN=1 -DSGK=8 -DTM=2 -DTN=1 -DU=2", 16, 1},
      {"matmul_mad.cl", "matmul_mad", "-DSGM=2 -DSGN=4 -DSGK=1 -DTM=4 -DTN=2 -DU=2", 64, 8},
  };
  return kForms[int(f)];
}
bool is_gemv(GpuForm f) { return f <= GpuForm::kGemv8; }
bool is_mad(GpuForm f) { return f >= GpuForm::kMadSkinny; }

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
bool form_suits(GpuForm f, DType weights, bool round_x) { return !is_mad(f) || (weights == DType::kBF16 && round_x); }

void gpu_product(const GpuProduct& p, GpuForm form, OpenClDevice& g) {
  if (p.rows == 0) return;
  const Form& f = form_of(form);
  const int64_t N = p.w.outputs(), K = p.w.cols();
  CHECK(p.x.cols() == K && p.y.cols() == N && N < INT32_MAX - 1024 && K < INT32_MAX - 65536, p.x.cols(), K, p.y.cols(), N);
  CHECK(p.w.dtype != DType::kMxfp4 || K % kMxfp4Group == 0, K);
  const int lanes = is_mad(form) ? g.info().sub_group : 1;
  const int64_t columns = f.columns * lanes, tasks = p.route == GpuRoute::kAll ? (p.rows + f.rows - 1) / f.rows : p.route == GpuRoute::kRow ? p.rows : p.n_tasks;
  const auto groups_n = size_t((N + columns - 1) / columns);
  const size_t group_size = is_gemv(form) ? 256 : is_mad(form) ? size_t(8 * lanes) : 128;
  const auto matrix = int64_t(packed_bytes(N, K, p.w.dtype));
  const std::string options = is_mad(form) ? f.options : "-DWT=" + std::to_string(weight_type(p.w.dtype)) + " " + f.options;
  const GpuKernel* kernel = g.kernel(f.file, f.entry, options);
  const int rows = p.rows, n = int(N), k = int(K), round_x = p.round_x, has_bias = bool(p.bias), route = int(p.route);
  if (!is_gemv(form)) {
    g.launch(kernel, {{groups_n, size_t(tasks), 1}, group_size}, p.x, Rows(p.x), p.x_div, p.w, matrix, p.bias, has_bias, p.y, Rows(p.y), rows, n, k, round_x, route, p.ids, p.order, p.tasks);
    return;
  }
  const int64_t lines = panel_lines(K, p.w.dtype);
  const int64_t wish = p.route == GpuRoute::kAll ? gemv_parts(int64_t(groups_n) * tasks, panel_bytes(K, p.w.dtype), g.info()) : 1;
  const int64_t part_lines = round_up((lines + wish - 1) / wish, 128), parts = (lines + part_lines - 1) / part_lines;  // 128 lines: whole groups of scales
  if (parts == 1) {
    g.launch(kernel, {{groups_n, size_t(tasks), 1}, group_size}, p.x, Rows(p.x), p.x_div, p.w, matrix, p.bias, has_bias, p.y, Rows(p.y), rows, n, k, round_x, route, p.ids, p.order, p.tasks,
             int(part_lines), int64_t(0));
    return;
  }
  const int64_t stride = int64_t(rows) * N;
  const Tensor sums = make_tensor(g.scratch(size_t(parts * stride) * sizeof(float)), DType::kF32, {rows, N});
  g.launch(kernel, {{groups_n, size_t(tasks), size_t(parts)}, group_size}, p.x, Rows(p.x), p.x_div, p.w, matrix, p.bias, 0, sums, Rows(sums), rows, n, k, round_x, route, p.ids, p.order, p.tasks,
           int(part_lines), stride);
  g.launch(g.kernel("matmul_sum.cl", "matmul_sum"), {{size_t(N + 127) / 128, size_t(rows), 1}, 128}, sums, int(parts), stride, p.bias, has_bias, p.y, Rows(p.y), n);
}

namespace {

void run(const MatMul& a, Device& d, GpuForm form) {
  GpuProduct p;
  p.x = a.x, p.w = a.w, p.bias = a.bias, p.y = a.y, p.round_x = a.round_x, p.rows = int(a.x.rows());
  gpu_product(p, form, gpu(d));
}

// Rows up to which reading the weights is what takes the time. Further tasks of 8 rows find them in the cache.
bool few_rows(const MatMul& a, const Device& d) {
  const bool fragments = static_cast<const OpenClDevice&>(d).info().matrix && form_suits(GpuForm::kMad, a.w.dtype, a.round_x);
  return a.x.rows() <= (fragments ? 2 : 32);
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
const Kernel<MatMul> tile_kernel(Dev::kOpenCl, "tile", 10, nullptr, [](const MatMul& a, Device& d) { run(a, d, GpuForm::kTile); });

}  // namespace
}  // namespace xylem
