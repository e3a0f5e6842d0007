#include "weights/fill.h"

#include <cstring>

#include "weights/pack.h"

namespace xylem {
namespace {

using Kind = Param::Kind;

Error not_numbers(const StoredTensor& t) {
  return invalid(t.file->path() + ": tensor " + t.name + " holds values that are not numbers (NaN or infinity): the file is damaged or no checkpoint of weights.");
}

// Of one row of float8 weights: a scale for each 128 inputs.
Status read_scales(const SourceRows& s, int64_t row, int64_t groups, float* out) {
  const StoredTensor& t = *s.scales;
  const int64_t blocks = round_up(s.matrix_rows, kF8Group) / kF8Group;
  const int64_t at = (row / s.matrix_rows * blocks + row % s.matrix_rows / kF8Group) * groups;
  convert_numbers(t.data + at * int64_t(dtype_bytes(*t.type)), *t.type, out, DType::kF32, groups);
  return all_finite(out, groups) ? Status() : not_numbers(t);
}

// One stored row of k numbers as float32 in `out`.
Status widen_row(const SourceRows& s, int64_t row, int64_t k, float* out, std::vector<float>& scales) {
  const std::byte* from = s.tensor->data + row * s.row_bytes;
  if (s.type != DType::kF8E4M3) {
    convert_numbers(from, s.type, out, DType::kF32, k);
    return {};
  }
  const int64_t groups = round_up(k, kF8Group) / kF8Group;
  scales.resize(std::max(scales.size(), size_t(groups)));
  TRY_VOID(read_scales(s, row, groups, scales.data()));
  if (has_f8_nan(from, k)) return not_numbers(*s.tensor);
  dequantise_f8(from, scales.data(), k, out);
  return {};
}

void copy_rows(const Task& task, std::byte* out, FillScratch& scratch) {
  const Placement& p = *task.place;
  const int64_t k = p.row_numel, row_bytes = unit_bytes(p);
  each_source(p, rows_of(task), [&](const SourceRows& s, int64_t b, int64_t e) {
    convert_numbers(s.tensor->data + (b - s.first) * s.row_bytes, s.type, out + b * row_bytes, p.tensor.dtype, (e - b) * k);
  });
  if (p.param->kind != Kind::kVector) return;
  float* const v = reinterpret_cast<float*>(out);
  if (p.param->scale != 1.0f)
    for (int64_t i = task.begin * k; i < task.end * k; i++) v[i] *= p.param->scale;
  for (int64_t r = task.begin; p.interleaved && r < task.end; r++) {
    scratch.numbers.assign(v + r * k, v + (r + 1) * k);
    deinterleave(reinterpret_cast<const std::byte*>(scratch.numbers.data()), DType::kF32, k, v + r * k);
  }
}

// Rows that must be converted or do not exist come from scratch, all others straight from the file.
Status pack_plain(const Task& task, std::byte* out, FillScratch& scratch) {
  const Placement& p = *task.place;
  const Tensor& t = p.tensor;
  const int64_t k = t.cols(), n = t.outputs(), panels = panels_per_matrix(t);
  scratch.numbers.resize(std::max(scratch.numbers.size(), size_t(k * kPanel)));
  scratch.zeros.resize(std::max(scratch.zeros.size(), size_t(k) * dtype_bytes(t.dtype)));
  for (int64_t panel = task.begin; panel < task.end; panel++) {
    const int64_t first = panel / panels * n + panel % panels * kPanel;
    const RowRange range{first, first + std::min(kPanel, n - panel % panels * kPanel)};
    PanelRows rows;
    rows.fill(scratch.zeros.data());
    Status status;
    each_source(p, range, [&](const SourceRows& s, int64_t b, int64_t e) {
      for (int64_t r = b; r < e && status.ok(); r++) {
        const int64_t lane = r - first, row = stored_row(p, s, r);
        rows[size_t(lane)] = s.tensor->data + row * s.row_bytes;
        if (s.type == t.dtype) continue;
        float* const widened = scratch.numbers.data() + lane * k;
        status = widen_row(s, row, k, widened, scratch.scales);
        rows[size_t(lane)] = reinterpret_cast<const std::byte*>(widened);
      }
    });
    TRY_VOID(std::move(status));
    pack_panel(rows, k, t.dtype, out + panel * unit_bytes(p));
  }
  return {};
}

// The scales of rows that do not exist are zero.
Status pack_f8_panel(const Placement& p, RowRange range, std::byte* out, FillScratch& scratch) {
  const int64_t k = p.tensor.cols(), groups = round_up(k, kF8Group) / kF8Group;
  scratch.scales.assign(size_t(groups * kPanel), 0.0f);
  PanelRows rows;
  rows.fill(scratch.zeros.data());
  Status status;
  each_source(p, range, [&](const SourceRows& s, int64_t b, int64_t e) {
    for (int64_t r = b; r < e && status.ok(); r++) {
      const int64_t lane = r - range.begin, row = stored_row(p, s, r);
      rows[size_t(lane)] = s.tensor->data + row * s.row_bytes;
      status = has_f8_nan(rows[size_t(lane)], k) ? not_numbers(*s.tensor) : read_scales(s, row, groups, scratch.scales.data() + lane * groups);
    }
  });
  TRY_VOID(std::move(status));
  pack_panel(rows, k, DType::kF8E4M3, out);
  float* const scales = reinterpret_cast<float*>(out + panel_lines(k, DType::kF8E4M3) * 64);
  for (int64_t lane = 0; lane < kPanel; lane++)
    for (int64_t g = 0; g < groups; g++) scales[g * kPanel + lane] = scratch.scales[size_t(lane * groups + g)];
  return {};
}

Status pack_mxfp4_panel(const Placement& p, RowRange range, std::byte* out, FillScratch& scratch) {
  const int64_t k = p.tensor.cols(), groups = k / kMxfp4Group;
  const SourceRows& s = p.sources[0];
  PanelRows rows, scales;
  rows.fill(scratch.zeros.data()), scales.fill(scratch.zeros.data());
  for (int64_t r = range.begin; r < range.end; r++) {
    const int64_t row = stored_row(p, s, r);
    rows[size_t(r - range.begin)] = s.tensor->data + row * s.row_bytes;
    scales[size_t(r - range.begin)] = s.scales->data + row * groups;
  }
  pack_panel(rows, k, DType::kMxfp4, out);
  return pack_mxfp4_scales(scales, groups, reinterpret_cast<uint8_t*>(out + panel_lines(k, DType::kMxfp4) * 64)) ? Status() : not_numbers(*s.scales);
}

Status pack_quantised(const Task& task, std::byte* out, FillScratch& scratch) {
  const Placement& p = *task.place;
  const int64_t n = p.tensor.outputs(), panels = panels_per_matrix(p.tensor);
  scratch.zeros.resize(std::max(scratch.zeros.size(), size_t(p.tensor.cols())));
  for (int64_t panel = task.begin; panel < task.end; panel++) {
    const int64_t first = panel / panels * n + panel % panels * kPanel;
    const RowRange range{first, first + std::min(kPanel, n - panel % panels * kPanel)};
    std::byte* const at = out + panel * unit_bytes(p);
    TRY_VOID(p.tensor.dtype == DType::kMxfp4 ? pack_mxfp4_panel(p, range, at, scratch) : pack_f8_panel(p, range, at, scratch));
  }
  return {};
}

// A few rows of the file at a time, so that it is read once and in order although each row meets every panel.
Status pack_columns(const Task& task, std::byte* out, FillScratch& scratch) {
  constexpr int64_t kTile = 16;
  const Placement& p = *task.place;
  const Tensor& t = p.tensor;
  const SourceRows& s = p.sources[0];
  const Kind kind = p.param->kind;
  const int64_t inputs = t.cols(), outputs = t.outputs();
  const int64_t stride = kind == Kind::kHeads ? p.param->head.rows : inputs, from = kind == Kind::kHeads ? p.param->head.first : 0;
  scratch.numbers.resize(std::max(scratch.numbers.size(), size_t(outputs * kTile)));
  for (int64_t matrix = task.begin; matrix < task.end; matrix++) {
    for (int64_t k = 0; k < inputs; k += kTile) {
      std::array<const std::byte*, kTile> rows{};
      const int64_t count = std::min(kTile, inputs - k);
      for (int64_t i = 0; i < count; i++) {
        const int64_t row = matrix * stride + from + k + i;
        const std::byte*& at = rows[size_t(i)] = s.tensor->data + row * s.row_bytes;
        float* const own = scratch.numbers.data() + i * outputs;
        if (p.interleaved) deinterleave(at, s.type, outputs, own);
        else if (s.type != t.dtype) TRY_VOID(widen_row(s, row, outputs, own, scratch.scales));
        if (p.interleaved || s.type != t.dtype) at = reinterpret_cast<const std::byte*>(own);
      }
      pack_inputs(rows.data(), k, count, inputs, outputs, t.dtype, out + matrix * unit_bytes(p));
    }
  }
  return {};
}

}  // namespace

Status fill_task(const Task& task, std::byte* out, FillScratch& scratch) {
  const Placement& p = *task.place;
  if (p.param->kind == Kind::kConstant) {
    std::memcpy(out + task.begin * 4, p.param->constant.data() + task.begin, size_t(task.end - task.begin) * 4);
    return {};
  }
  if (p.tensor.layout == Layout::kStrided) {
    copy_rows(task, out, scratch);
    return {};
  }
  if (p.columns) return pack_columns(task, out, scratch);
  return is_quantised(p.tensor.dtype) ? pack_quantised(task, out, scratch) : pack_plain(task, out, scratch);
}

}  // namespace xylem
