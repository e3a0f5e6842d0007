#include "device/op_spec.h"
#include "ops/gate_up/gate_up.h"
#include "ops/matmul/matmul.h"
#include "ops/run_reference.h"

namespace xylem {
namespace {

void reference(const GateUp& a) {
  const int64_t M = a.x.rows(), N = a.y.cols();
  std::vector<float> both(size_t(M * 2 * N));
  Tensor gate = make_tensor(both.data(), DType::kF32, {M, 2 * N});
  run_reference(MatMul{a.x, a.w, a.bias, gate, a.round_x});
  gate.dim[1] = N;
  Tensor up = gate;
  up.data = up.as() + N;
  run_reference(ActMul{gate, up, a.y, a.act, a.limit});
}

CaseList<GateUp> cases() {
  CaseList<GateUp> list;
  struct S { int64_t m, n, k; };
  for (S s : {S{1, 64, 160}, S{2, 96, 1536}, S{5, 48, 100}, S{8, 160, 4100}, S{11, 2128, 256}, S{16, 80, 2048}, S{16, 4256, 512}})
    for (Act act : {Act::kGeluTanh, Act::kClampedSwiglu, Act::kSilu}) {
      if (act == Act::kSilu && s.n > 80) continue;
      const bool bias = act == Act::kClampedSwiglu;
      GateUp a{shape({s.m, s.k}), packed_shape({2 * s.n, s.k}, DType::kBF16), bias ? shape({2 * s.n}) : Tensor{}, shape({s.m, s.n}), act, bias ? 7.0f : 0.0f, true};
      a.x.stride[0] += bias ? 3 : 0, a.y.stride[0] += s.n;
      // The last bit of an input decides how it is rounded to bfloat16.
      list.push_back({"act" + std::to_string(int(act)) + " " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k), a, {}, 1e-6});
    }
  return list;
}

const OpSpec<GateUp> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<GateUp, reference>();

}  // namespace
}  // namespace xylem
