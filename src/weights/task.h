// A plan cut into pieces of work that threads take one after the other.
#pragma once
#include <algorithm>
#include <vector>

#include "weights/plan.h"

namespace xylem {

// Part of a placement: panels [begin, end) of a packed tensor, matrices of one whose source holds columns, rows of a strided one.
struct Task {
  const Placement* place;
  int64_t begin, end;
};

// Bytes of one panel, matrix or row of the result.
int64_t unit_bytes(const Placement& p);
std::vector<Task> split(const WeightPlan& plan);

inline int64_t panels_per_matrix(const Tensor& t) { return round_up(t.outputs(), kPanel) / kPanel; }

// Rows of the parameter.
struct RowRange { int64_t begin, end; };
RowRange rows_of(const Task& task);

// Where row `row` of the parameter lies in its source, in rows of the stored tensor. Not for placements of columns.
inline int64_t stored_row(const Placement& p, const SourceRows& s, int64_t row) {
  const int64_t n = p.tensor.outputs(), j = row - s.first;
  if (p.param->kind == Param::Kind::kHeads) return j / n * p.param->head.rows + p.param->head.first + j % n;
  if (!p.interleaved || p.param->kind == Param::Kind::kVector) return j;
  const int64_t r = j % n, half = n / 2;
  return j - r + (r < half ? 2 * r : 2 * (r - half) + 1);
}

// Calls f(source, begin, end) for the rows of each source within a range of the parameter's rows.
template <class F>
void each_source(const Placement& p, RowRange range, F&& f) {
  auto s = std::upper_bound(p.sources.begin(), p.sources.end(), range.begin, [](int64_t row, const SourceRows& x) { return row < x.first; });
  for (--s; s != p.sources.end() && s->first < range.end; ++s) {
    const int64_t b = std::max(range.begin, s->first), e = std::min(range.end, s->first + s->rows);
    if (b < e) f(*s, b, e);
  }
}

// Tells the system that what a task reads of the files is wanted soon, or no more. Any thread.
void prefetch(const Task& task);
void drop(const Task& task);

}  // namespace xylem
