#include <cmath>

#include "device/op_spec.h"
#include "ops/softcap/softcap.h"
namespace xylem {
namespace {
void reference(const Softcap& a) {
  for (int64_t m = 0; m < a.x.rows(); m++)
    for (int64_t i = 0; i < a.x.cols(); i++) a.y.row(m)[i] = float(double(a.cap) * std::tanh(double(a.x.row(m)[i]) / double(a.cap)));
}
CaseList<Softcap> cases() {
  CaseList<Softcap> list;
  for (int64_t n : {1, 31, 5000})
    list.push_back({std::to_string(n), {shape({3, n}), shape({3, n}), 30.0f}, [](Softcap& a) {
                      for (int64_t i = 0; i < a.x.numel(); i++) a.x.as()[i] *= float(i % 11) * 12.0f;
                    }});
  return list;
}
const OpSpec<Softcap> spec(reference, cases, 1e-12);
const auto* const ref = register_reference<Softcap, reference>();
}  // namespace
}  // namespace xylem
