#include <cmath>

#include "device/op_spec.h"
#include "ops/rope/rope.h"
namespace xylem {
namespace {
void table_reference(const RopeTable& a) {
  const int64_t R = a.inv_freq.numel();
  for (int64_t t = 0; t < a.positions.cols(); t++)
    for (int64_t i = 0; i < R; i++) {
      const int32_t position = a.axis ? a.positions.row<int32_t>(a.axis.as<int32_t>()[i])[t] : a.positions.as<int32_t>()[t];
      const float angle = float(position) * a.inv_freq.as()[i];  // the product is rounded as the models were trained
      a.y.as()[t * 2 * R + i] = float(std::cos(double(angle)) * a.gain);
      a.y.as()[t * 2 * R + R + i] = float(std::sin(double(angle)) * a.gain);
    }
}
void set_frequencies(RopeTable& a, int64_t period) {
  for (int64_t i = 0; i < a.inv_freq.numel(); i++) a.inv_freq.as()[i] = float(std::pow(1e4, -double(i % period) / double(period)));
}
// Times, rows and columns of text, two images and text after them.
void set_axes(RopeTable& a, int32_t (*axis)(int64_t i)) {
  for (int64_t i = 0; i < a.axis.numel(); i++) a.axis.as<int32_t>()[i] = axis(i);
  const int32_t p[3][6] = {{0, 77, 77, 4096, 131071, 262143}, {0, 78, 91, 4100, 131071, 262143}, {0, 77, 140, 4096, 131071, 262143}};
  for (int64_t at = 0; at < a.positions.dim[0]; at++) std::memcpy(a.positions.row<int32_t>(at), p[at], sizeof p[at]);
}
void add_cases_of_axes(CaseList<RopeTable>& list) {
  const auto with_axes = [](int64_t axes, int64_t R) {
    Tensor positions = shape({axes, 6}, DType::kI32);
    positions.stride[0] = 9;
    return RopeTable{positions, shape({R}), shape({6, 2, R}), 1.25f, shape({R}, DType::kI32)};
  };
  // Sections of 11, 11 and 10 in turns (specs/qwen3_5.md 6.3).
  list.push_back({"turns of three axes", with_axes(3, 32), [](RopeTable& a) {
                    set_frequencies(a, 32);
                    set_axes(a, [](int64_t j) { return j % 3 == 1 && j < 33 ? 1 : j % 3 == 2 && j < 30 ? 2 : 0; });
                  }});
  list.push_back({"short turns of three axes", with_axes(3, 8), [](RopeTable& a) {
                    set_frequencies(a, 8);
                    set_axes(a, [](int64_t j) { return j % 3 == 1 && j < 6 ? 1 : j % 3 == 2 && j < 6 ? 2 : 0; });
                  }});
  // Half of the frequencies for rows, the same ones again for columns.
  list.push_back({"halves of two axes", with_axes(2, 36), [](RopeTable& a) {
                    set_frequencies(a, 18);
                    set_axes(a, [](int64_t j) { return int32_t(j >= 18); });
                  }});
  list.push_back({"one axis", with_axes(1, 5), [](RopeTable& a) {
                    set_frequencies(a, 5);
                    set_axes(a, [](int64_t) { return 0; });
                  }});
}
CaseList<RopeTable> table_cases() {
  CaseList<RopeTable> list;
  for (int64_t R : {1, 4, 32, 256})
    list.push_back({std::to_string(R), {shape({6}, DType::kI32), shape({R}), shape({6, 2, R}), 1.25f, {}}, [](RopeTable& a) {
                      const int32_t p[6] = {0, 1, 77, 4096, 131071, 262143};
                      std::memcpy(a.positions.data, p, sizeof p);
                      set_frequencies(a, a.inv_freq.numel());
                    }});
  add_cases_of_axes(list);
  return list;
}
void reference(const Rope& a) {
  const int64_t R = a.table.cols(), T = a.x.dim[0], H = a.x.dim[1], D = a.x.dim[2];
  for (int64_t t = 0; t < T; t++)
    for (int64_t h = 0; h < H; h++) {
      const float* x = a.x.as() + t * a.x.stride[0] + h * a.x.stride[1];
      float* y = a.y.as() + t * a.y.stride[0] + h * a.y.stride[1];
      const float* c = a.table.as() + t * 2 * R;
      for (int64_t i = 0; i < R; i++) {
        const int64_t p = a.interleaved ? 2 * i : i, q = a.interleaved ? 2 * i + 1 : i + R;
        const double u = x[p], v = x[q];
        y[p] = float(u * c[i] - v * c[R + i]);
        y[q] = float(v * c[i] + u * c[R + i]);
      }
      for (int64_t i = 2 * R; i < D; i++) y[i] = x[i];
    }
}
CaseList<Rope> cases() {
  CaseList<Rope> list;
  for (bool il : {false, true})
    for (int64_t D : {2, 8, 64, 512})
      for (int64_t R : {D / 2, D / 4}) {
        if (R == 0) continue;
        Tensor x = shape({5, 3, D});
        x.stride = {7 * D, D, 1, 1};
        list.push_back({std::to_string(D) + "/" + std::to_string(R) + (il ? " interleaved" : ""), {x, shape({5, 2, R}), shape({5, 3, D}), il}, {}});
      }
  return list;
}
const OpSpec<RopeTable> table_spec(table_reference, table_cases, 1e-9);
const OpSpec<Rope> spec(reference, cases, 1e-12);
const auto* const ref1 = register_reference<RopeTable, table_reference>();
const auto* const ref2 = register_reference<Rope, reference>();
}  // namespace
}  // namespace xylem
