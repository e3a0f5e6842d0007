#include "device/op_spec.h"
#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/matmul.h"
#include "ops/run_reference.h"

namespace xylem {
namespace {

void reference(const GatedMatMul& a) {
  run_reference(ActMul{a.gate, a.up, a.up, a.act, a.limit});
  run_reference(MatMul{a.up, a.w, a.bias, a.y, a.round_x});
}

CaseList<GatedMatMul> cases() {
  CaseList<GatedMatMul> list;
  struct S { int64_t m, n, k; };
  for (DType t : {DType::kBF16, DType::kF32, DType::kMxfp4})
    for (S s : {S{1, 16, 32}, S{1, 97, 160}, S{1, 40, 2880}, S{3, 48, 96}, S{11, 97, 160}, S{20, 70, 128}})
      for (Act act : {Act::kSilu, Act::kGeluTanh, Act::kClampedSwiglu, Act::kGeluErf}) {
        if (act == Act::kGeluErf && s.n != 97) continue;
        // The halves of one product.
        Tensor gate = shape({s.m, s.k}), up = gate;
        gate.stride[0] = s.k + 8, up.stride[0] = s.k + 24;
        const bool bias = act == Act::kClampedSwiglu;
        Case<GatedMatMul> c{std::string(dtype_name(t)) + " act" + std::to_string(int(act)) + " " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k),
                            {gate, up, act, bias ? 7.0f : 0.0f, packed_shape({s.n, s.k}, t), bias ? shape({s.n}) : Tensor{}, shape({s.m, s.n}), t != DType::kF32},
                            {}};
        // The last bit of an activation decides how it is rounded to bfloat16.
        if (t != DType::kF32) c.max_nmse = 1e-6;
        list.push_back(c);
      }
  return list;
}

const OpSpec<GatedMatMul> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<GatedMatMul, reference>();

}  // namespace
}  // namespace xylem
