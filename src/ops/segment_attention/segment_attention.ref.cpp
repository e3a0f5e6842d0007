#include "ops/segment_attention/segment_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "device/op_spec.h"
namespace xylem {
namespace {

// Probabilities are not rounded: they differ from rounded ones by less than what round_x is allowed.
void reference(const SegmentAttention& a) {
  const int64_t heads = a.q.dim[1], dim = a.q.dim[2];
  const auto at = [&](const Tensor& t, int64_t row, int64_t h, int64_t d) {
    const float x = t.as()[row * t.stride[0] + h * t.stride[1] + d];
    return double(a.round_x ? bf16_to_f32(f32_to_bf16(x)) : x);
  };
  std::vector<double> k, v, q, s, o;
  for (int64_t b = 0; b + 1 < a.cu.numel(); b++)
    for (int64_t h = 0; h < heads; h++) {
      const int64_t first = a.cu.as<int32_t>()[b], n = a.cu.as<int32_t>()[b + 1] - first;
      k.clear(), v.clear();
      for (int64_t j = 0; j < n; j++)
        for (int64_t d = 0; d < dim; d++) k.push_back(at(a.k, first + j, h, d)), v.push_back(at(a.v, first + j, h, d));
      for (int64_t i = 0; i < n; i++) {
        q.assign(size_t(dim), 0), o.assign(size_t(dim), 0), s.assign(size_t(n), 0);
        for (int64_t d = 0; d < dim; d++) q[size_t(d)] = at(a.q, first + i, h, d);
        double max = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) {
          double dot = 0;
          for (int64_t d = 0; d < dim; d++) dot += q[size_t(d)] * k[size_t(j * dim + d)];
          s[size_t(j)] = dot * double(a.scale);
          max = std::max(max, s[size_t(j)]);
        }
        for (int64_t j = 0; j < n; j++) {
          const double e = std::exp(s[size_t(j)] - max);
          sum += e;
          for (int64_t d = 0; d < dim; d++) o[size_t(d)] += e * v[size_t(j * dim + d)];
        }
        for (int64_t d = 0; d < dim; d++) a.y.as()[((first + i) * heads + h) * dim + d] = float(o[size_t(d)] / sum);
      }
    }
}

CaseList<SegmentAttention> cases() {
  CaseList<SegmentAttention> list;
  struct S {
    const char* label;
    std::vector<int> lengths;
    int heads, dim;
    bool fused;   // q, k and v are slices of one product
    float scale;  // 0: 1 / sqrt(dim)
  };
  const std::vector<S> shapes = {
      {"one patch", {1}, 1, 64, false, 0},
      {"two", {2}, 3, 32, true, 0},
      {"nothing between", {19, 0, 3}, 2, 24, true, 0},
      {"short", {1, 17, 5}, 4, 64, true, 0},
      {"several", {1, 17, 300}, 2, 72, true, 0},
      {"scale of one", {70, 0, 33}, 12, 64, true, 1},
      {"many heads", {49}, 16, 72, true, 0},
      {"whole tiles", {96, 192, 64}, 2, 80, false, 0},
      {"dim 8", {20, 9}, 1, 8, false, 0},
      {"odd dim", {33, 40}, 2, 37, false, 0},
      {"dim 256", {37, 18}, 2, 256, true, 0},
      {"dim 320", {50}, 1, 320, false, 0},
      {"dim 512", {34}, 1, 512, false, 0},
      {"image", {2520}, 1, 64, true, 0},
  };
  for (bool round : {false, true})
    for (const S& s : shapes) {
      int64_t n = 0;
      for (int length : s.lengths) n += length;
      Tensor x = shape({n, s.heads, s.dim});
      if (s.fused) x.stride[0] = 3 * s.heads * s.dim;
      list.push_back({std::string(round ? "bf16-x " : "f32-x ") + s.label,
                      {x, x, x, shape({int64_t(s.lengths.size()) + 1}, DType::kI32), shape({n, s.heads, s.dim}),
                       s.scale > 0 ? s.scale : 1.0f / std::sqrt(float(s.dim)), round},
                      [s](SegmentAttention& a) {
                        int32_t at = 0;
                        for (size_t b = 0; b < s.lengths.size(); b++) a.cu.as<int32_t>()[b + 1] = at += s.lengths[b];
                      },
                      round ? 3e-5 : 0});
    }
  return list;
}

const OpSpec<SegmentAttention> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<SegmentAttention, reference>();

}  // namespace
}  // namespace xylem
