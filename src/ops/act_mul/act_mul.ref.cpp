#include <cmath>

#include "device/op_spec.h"
#include "ops/act_mul/act.ref.h"
#include "ops/act_mul/act_mul.h"
namespace xylem {
namespace {
void reference(const ActMul& a) {
  for (int64_t m = 0; m < a.y.rows(); m++)
    for (int64_t i = 0; i < a.y.cols(); i++) a.y.row(m)[i] = float(gated_reference(a.act, a.gate.row(m)[i], a.up ? a.up.row(m)[i] : 1.0, a.limit));
}
CaseList<ActMul> cases() {
  CaseList<ActMul> list;
  struct Kind { const char* name; Act act; };
  // Large values too: tanh and exp must saturate, not overflow.
  const auto some_large = [](ActMul& a) {
    for (int64_t r = 0; r < a.gate.rows(); r++)
      for (int64_t i = 0; i < a.gate.cols(); i += 7) a.gate.row(r)[i] *= float(i % 5) * 30.0f;
  };
  for (Kind kind : {Kind{"silu ", Act::kSilu}, {"gelu ", Act::kGeluTanh}, {"sigmoid ", Act::kSigmoid}, {"clamped ", Act::kClampedSwiglu}, {"gelu-erf ", Act::kGeluErf}})
    for (int64_t m : {1, 5})
      for (int64_t n : {1, 31, 256, 6144}) {
        Tensor half = shape({m, n});
        half.stride[0] = 2 * n;
        const std::string label = kind.name + std::to_string(m) + "x" + std::to_string(n);
        list.push_back({label, {half, half, shape({m, n}), kind.act, 7.0f}, some_large});
        if (kind.act != Act::kClampedSwiglu) list.push_back({label + " alone", {half, {}, shape({m, n}), kind.act}, some_large});
      }
  // Where activations bend: no large value hides an error there.
  for (Act act : {Act::kSilu, Act::kGeluTanh, Act::kGeluErf})
    list.push_back({"bend of act" + std::to_string(int(act)), {shape({1, 4001}), {}, shape({1, 4001}), act}, [](ActMul& a) {
                      for (int64_t i = 0; i < 4001; i++) a.gate.as()[i] = float(i - 3000) / 1000.0f;
                      a.y = a.gate;
                    }});
  Tensor gate = shape({3, 4, 32});  // the gates of heads whose queries stand beside them
  gate.stride = {4 * 64, 64, 1, 1};
  list.push_back({"sigmoid of heads", {gate, shape({3, 4, 32}), shape({3, 4, 32}), Act::kSigmoid}, {}});
  return list;
}
const OpSpec<ActMul> spec(reference, cases, 1e-11);
const auto* const ref = register_reference<ActMul, reference>();
}  // namespace
}  // namespace xylem
