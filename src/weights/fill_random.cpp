#include "weights/fill_random.h"

#include <cmath>
#include <cstring>

#include "weights/dummy.h"
#include "weights/pack.h"

namespace xylem {
namespace {

using Kind = Param::Kind;

double deviation(int64_t inputs) { return 1.0 / std::sqrt(double(std::max<int64_t>(inputs, 1))); }

NormalTable distribution(const Placement& p) {
  const Param& param = *p.param;
  if (param.kind == Kind::kVector) return NormalTable(param.dummy_mean * param.scale, std::abs(param.dummy_spread * param.scale));
  if (param.kind == Kind::kTable) return NormalTable(0.0, 0.02);
  return NormalTable(0.0, deviation(p.columns ? p.tensor.outputs() : p.tensor.cols()));
}

// Rows [rows, kPanel) of every line of a panel, which do not exist.
void clear_rows(uint32_t* lines, int64_t count, int64_t rows) {
  for (int64_t i = 0; rows < kPanel && i < count; i++) std::fill(lines + i * kPanel + rows, lines + (i + 1) * kPanel, 0u);
}

void fill_numbers(const NormalTable& normal, uint64_t seed, DType type, void* out, int64_t n) {
  if (type == DType::kF32) normal.fill(seed, static_cast<float*>(out), n);
  else normal.fill_bf16(seed, static_cast<uint16_t*>(out), n);
}

void fill_plain_panel(const NormalTable& normal, uint64_t seed, const Tensor& t, int64_t rows, std::byte* out) {
  const int64_t k = t.cols();
  fill_numbers(normal, seed, t.dtype, out, packed_numel(kPanel, k, t.dtype));
  uint32_t* const lines = reinterpret_cast<uint32_t*>(out);
  const int64_t count = panel_lines(k, t.dtype);
  clear_rows(lines, count, rows);
  for (int64_t r = 0; k % pack_width(t.dtype) && r < kPanel; r++) lines[(count - 1) * kPanel + r] &= 0xffffu;  // the partner of an odd input
}

// K is a multiple of the group: all codes are of inputs that exist.
void fill_quantised_panel(const NormalCodes& codes, uint64_t seed, const Tensor& t, int64_t rows, std::byte* out) {
  const int64_t k = t.cols(), count = panel_lines(k, t.dtype);
  codes.fill(seed, reinterpret_cast<uint8_t*>(out), count * 64);
  clear_rows(reinterpret_cast<uint32_t*>(out), count, rows);
  std::byte* const scales = out + count * 64;
  std::memset(scales, 0, size_t(panel_scale_bytes(k, t.dtype)));
  const double stddev = deviation(k);
  if (t.dtype == DType::kMxfp4) {
    for (int64_t g = 0; g < k / kMxfp4Group; g++) std::memset(scales + g * kPanel, codes.mxfp4_scale(stddev), size_t(rows));
    return;
  }
  for (int64_t g = 0; g < k / kF8Group; g++) std::fill_n(reinterpret_cast<float*>(scales) + g * kPanel, rows, codes.f8_scale(stddev));
}

uint64_t name_seed(const std::string& name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : name) h = (h ^ uint8_t(c)) * 0x100000001b3u;
  return h;
}

// Row after row of the stored matrix, each by a seed of its own.
void fill_heads(const Task& task, const NormalTable& normal, uint64_t seed, std::byte* out, FillScratch& scratch) {
  const Placement& p = *task.place;
  const Tensor& t = p.tensor;
  const Param::HeadRows& head = p.param->head;
  const int64_t k = p.columns ? t.outputs() : t.cols(), n = p.columns ? t.cols() : t.outputs(), row_bytes = k * int64_t(dtype_bytes(t.dtype));
  scratch.numbers.assign(size_t(k * kPanel), 0.0f);
  PanelRows rows;
  for (size_t i = 0; i < kPanel; i++) rows[i] = reinterpret_cast<std::byte*>(scratch.numbers.data()) + int64_t(i) * row_bytes;
  const uint64_t matrix_seed = mix_seed(seed, name_seed(p.param->name), 0);
  const auto make_rows = [&](int64_t h, int64_t first) {
    const int64_t count = std::min(kPanel, n - first);
    for (int64_t i = 0; i < kPanel; i++) {
      std::byte* const row = reinterpret_cast<std::byte*>(scratch.numbers.data()) + i * row_bytes;
      if (i < count) fill_numbers(normal, mix_seed(matrix_seed, uint64_t(h * head.rows + head.first + first + i), 1), t.dtype, row, k);
      else std::memset(row, 0, size_t(row_bytes));
    }
    return count;
  };
  for (int64_t u = task.begin; u < task.end; u++) {
    std::byte* const at = out + u * unit_bytes(p);
    if (!p.columns) {
      make_rows(u / panels_per_matrix(t), u % panels_per_matrix(t) * kPanel);
      pack_panel(rows, k, t.dtype, at);
      continue;
    }
    for (int64_t first = 0; first < n; first += kPanel) {
      const int64_t count = make_rows(u, first);
      pack_inputs(rows.data(), first, count, n, k, t.dtype, at);
    }
  }
}

}  // namespace

void fill_random(const Task& task, uint64_t seed, uint64_t index, std::byte* out, FillScratch& scratch) {
  const Placement& p = *task.place;
  const Tensor& t = p.tensor;
  static const NormalCodes f8(DType::kF8E4M3), mxfp4(DType::kMxfp4);
  const NormalTable normal = distribution(p);
  if (p.param->kind == Kind::kHeads) return fill_heads(task, normal, seed, out, scratch);
  for (int64_t u = task.begin; u < task.end; u++) {
    const uint64_t unit_seed = mix_seed(seed, index, uint64_t(u));
    std::byte* const at = out + u * unit_bytes(p);
    const int64_t rows = t.layout == Layout::kPacked ? std::min(kPanel, t.outputs() - u % panels_per_matrix(t) * kPanel) : 0;
    if (t.layout == Layout::kStrided) fill_numbers(normal, unit_seed, t.dtype, at, p.row_numel);
    else if (is_quantised(t.dtype)) fill_quantised_panel(t.dtype == DType::kMxfp4 ? mxfp4 : f8, unit_seed, t, rows, at);
    else fill_plain_panel(normal, unit_seed, t, rows, at);
  }
}

}  // namespace xylem
