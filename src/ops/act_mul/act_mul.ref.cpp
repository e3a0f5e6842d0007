#include <cmath>

#include "device/op_spec.h"
#include "ops/act_mul/act.ref.h"
#include "ops/act_mul/act_mul.h"
namespace xylem {
namespace {
void reference(const ActMul& a) {
  for (int64_t m = 0; m < a.y.rows(); m++)
    for (int64_t i = 0; i < a.y.cols(); i++) a.y.row(m)[i] = float(activate_reference(a.act, a.gate.row(m)[i]) * double(a.up.row(m)[i]));
}
CaseList<ActMul> cases() {
  CaseList<ActMul> list;
  for (Act act : {Act::kSilu, Act::kGeluTanh})
    for (int64_t m : {1, 5})
      for (int64_t n : {1, 31, 256, 6144}) {
        Tensor half = shape({m, n});
        half.stride[0] = 2 * n;
        // Large values too: tanh and exp must saturate, not overflow.
        list.push_back({(act == Act::kSilu ? "silu " : "gelu ") + std::to_string(m) + "x" + std::to_string(n), {half, half, shape({m, n}), act}, [](ActMul& a) {
                          for (int64_t r = 0; r < a.gate.rows(); r++)
                            for (int64_t i = 0; i < a.gate.cols(); i += 7) a.gate.row(r)[i] *= float(i % 5) * 30.0f;
                        }});
      }
  return list;
}
const OpSpec<ActMul> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<ActMul, reference>();
}  // namespace
}  // namespace xylem
