#include "ops/clamp/clamp.h"

#include <limits>

#include "device/op_spec.h"

namespace xylem {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void reference(const Clamp& a) {
  for (int64_t t = 0; t < a.x.rows(); t++)
    for (int64_t i = 0; i < a.x.cols(); i++) a.y.row(t)[i] = std::min(std::max(a.x.row(t)[i], a.lo.as()[0]), a.hi.as()[0]);  // NaN stays
}

template <int kCase>
void bounds(Clamp& a) {
  constexpr float kLow[] = {-0.5f, -kInfinity, 2.0f}, kHigh[] = {0.75f, kInfinity, 1.0f};
  a.lo.as()[0] = kLow[kCase], a.hi.as()[0] = kHigh[kCase];
  a.x.as()[0] = kInfinity, a.x.row(a.x.rows() - 1)[a.x.cols() - 1] = std::numeric_limits<float>::quiet_NaN();
}

CaseList<Clamp> cases() {
  CaseList<Clamp> list;
  for (int64_t rows : {2, 5})
    for (int64_t n : {1, 31, 768, 3072}) list.push_back({std::to_string(rows) + "x" + std::to_string(n), {shape({rows, n}), shape({1}), shape({1}), shape({rows, n})}, bounds<0>});
  Tensor x = shape({4, 40});
  x.stride[0] = 66;
  list.push_back({"strided", {x, shape({1}), shape({1}), x}, bounds<0>});
  list.push_back({"no bounds", {shape({3, 40}), shape({1}), shape({1}), shape({3, 40})}, bounds<1>});
  list.push_back({"the upper bound wins", {shape({3, 40}), shape({1}), shape({1}), shape({3, 40})}, bounds<2>});
  list.push_back({"in place", {shape({3, 1100}), shape({1}), shape({1}), shape({3, 1100})}, [](Clamp& a) { bounds<0>(a), a.y = a.x; }});
  return list;
}

const OpSpec<Clamp> spec(reference, cases, 1e-20);  // exact
const auto* const ref = register_reference<Clamp, reference>();

}  // namespace
}  // namespace xylem
