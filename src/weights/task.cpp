#include "weights/task.h"

namespace xylem {
namespace {

constexpr int64_t kTaskBytes = int64_t(4) << 20;  // of the result; bounds the pages of the file that are in memory at a time

int64_t matrices(const Tensor& t) { return t.rank == 3 ? t.dim[0] : 1; }

using Advice = void (MappedFile::*)(const std::byte*, size_t) const;

void advise_rows(const SourceRows& s, int64_t begin, int64_t end, Advice advice) {
  (s.tensor->file->*advice)(s.tensor->data + begin * s.row_bytes, size_t((end - begin) * s.row_bytes));
  if (s.type != DType::kMxfp4) return;
  const int64_t scale_bytes = s.row_bytes * 2 / kMxfp4Group;
  (s.scales->file->*advice)(s.scales->data + begin * scale_bytes, size_t((end - begin) * scale_bytes));
}

void advise(const Task& task, Advice advice) {
  const Placement& p = *task.place;
  if (p.sources.empty()) return;
  if (p.columns) {
    const int64_t rows = p.param->kind == Param::Kind::kHeads ? p.param->head.rows : p.tensor.cols();
    return advise_rows(p.sources[0], task.begin * rows, task.end * rows, advice);
  }
  each_source(p, rows_of(task), [&](const SourceRows& s, int64_t b, int64_t e) {
    int64_t lo = stored_row(p, s, b), hi = lo;
    for (int64_t r = b + 1; r < e && (p.interleaved || p.param->kind == Param::Kind::kHeads); r++) {
      const int64_t at = stored_row(p, s, r);
      lo = std::min(lo, at), hi = std::max(hi, at);
    }
    advise_rows(s, lo, std::max(hi, stored_row(p, s, e - 1)) + 1, advice);
  });
}

}  // namespace

int64_t unit_bytes(const Placement& p) {
  const Tensor& t = p.tensor;
  if (t.layout == Layout::kStrided) return p.row_numel * int64_t(dtype_bytes(t.dtype));
  return panel_bytes(t.cols(), t.dtype) * (p.columns ? panels_per_matrix(t) : 1);
}

std::vector<Task> split(const WeightPlan& plan) {
  std::vector<Task> tasks;
  for (const Placement& p : plan.placements) {
    if (p.alias || p.mapped) continue;
    const Tensor& t = p.tensor;
    int64_t units = t.numel() / std::max<int64_t>(p.row_numel, 1);
    if (t.layout == Layout::kPacked) units = matrices(t) * (p.columns ? 1 : panels_per_matrix(t));
    const int64_t step = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(unit_bytes(p), 1));
    for (int64_t b = 0; b < units; b += step) tasks.push_back({&p, b, std::min(b + step, units)});
  }
  return tasks;
}

RowRange rows_of(const Task& task) {
  const Tensor& t = task.place->tensor;
  if (t.layout == Layout::kStrided) return {task.begin, task.end};
  const int64_t panels = panels_per_matrix(t), n = t.outputs();
  auto row = [&](int64_t panel) { return panel / panels * n + std::min(panel % panels * kPanel, n); };
  return {row(task.begin), row(task.end - 1) / n * n + std::min((task.end - 1) % panels * kPanel + kPanel, n)};
}

void prefetch(const Task& task) { advise(task, &MappedFile::prefetch); }
void drop(const Task& task) { advise(task, &MappedFile::drop); }

}  // namespace xylem
