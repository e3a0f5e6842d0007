#include "ops/layer_norm/layer_norm.h"

#include <cmath>

#include "device/op_spec.h"

namespace xylem {
namespace {

void reference(const LayerNorm& a) {
  const int64_t n = a.x.cols();
  for (int64_t t = 0; t < a.x.rows(); t++) {
    const float* x = a.x.row(t);
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i];
    mean /= double(n);
    for (int64_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean);
    const double inv = 1.0 / std::sqrt(var / double(n) + double(a.eps));
    for (int64_t i = 0; i < n; i++) a.y.row(t)[i] = float((x[i] - mean) * inv * double(a.w.as()[i]) + double(a.bias.as()[i]));
  }
}

CaseList<LayerNorm> cases() {
  CaseList<LayerNorm> list;
  for (int64_t rows : {1, 3, 17})
    for (int64_t n : {1, 7, 63, 64, 768, 1024, 1152, 3001})
      list.push_back({std::to_string(rows) + "x" + std::to_string(n), {shape({rows, n}), shape({n}), shape({n}), shape({rows, n})}, {}});
  for (int64_t n : {8191, 8192})  // the longest that a work-group holds
    list.push_back({"2x" + std::to_string(n), {shape({2, n}), shape({n}), shape({n}), shape({2, n})}, {}});
  list.push_back({"5x17408", {shape({5, 17408}), shape({17408}), shape({17408}), shape({5, 17408}), 1e-5f}, {}});
  for (int64_t n : {66, 1152, 17408})
    list.push_back({"far from zero " + std::to_string(n), {shape({3, n}), shape({n}), shape({n}), shape({3, n})}, [](LayerNorm& a) {
                      for (int64_t t = 0; t < 3; t++)
                        for (int64_t i = 0; i < a.x.cols(); i++) a.x.row(t)[i] += float(1000 * (t + 1));
                    }});
  list.push_back({"equal numbers", {shape({2, 130}), shape({130}), shape({130}), shape({2, 130})}, [](LayerNorm& a) {
                    std::fill_n(a.x.as(), 260, 0.3f);
                  }});
  Tensor x = shape({5, 64});  // columns of a wider matrix
  x.stride[0] = 196;
  list.push_back({"strided", {x, shape({64}), shape({64}), x}, {}});
  list.push_back({"in place", {shape({9, 1152}), shape({1152}), shape({1152}), shape({9, 1152})}, [](LayerNorm& a) { a.y = a.x; }});
  return list;
}

const OpSpec<LayerNorm> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<LayerNorm, reference>();

}  // namespace
}  // namespace xylem
