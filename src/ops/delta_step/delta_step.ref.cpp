// The references of the two ops, one after the other.
#include <vector>

#include "ops/delta_step/delta_step.h"
#include "ops/state_cases.h"
namespace xylem {
namespace {

template <class A>
void run_reference(const A& a) {
  HostMemory host;
  for (const Kernel<A>* k : Kernel<A>::all())
    if (k->dev == Dev::kRef) return k->run(a, host);
}

void reference(const DeltaStep& a) {
  std::vector<float> between(size_t(a.qkv.rows() * a.qkv.cols()));
  const Tensor x = make_tensor(between.data(), DType::kF32, {a.qkv.rows(), a.qkv.cols()});
  run_reference(a.convolution(x));
  run_reference(a.rule(x));
}

CaseList<DeltaStep> cases() {
  static const std::vector<StateShape> steps = {
      {"one token", {1}, {1}, {}}, {"decode", {1, 1, 1}, {5, 16, 33}, {}}, {"many rows", std::vector<int>(21, 1), {9, 1, 2, 3, 4, 65, 64, 33, 40, 17, 1, 1, 70, 71, 72, 16, 31, 32, 48, 2, 3}, {}}};
  CaseList<DeltaStep> list;
  struct S { int64_t hk, hv, k, v, taps; };
  for (bool channels : {false, true})
    for (S n : {S{2, 4, 32, 32, 4}, S{1, 2, 128, 128, 4}, S{1, 3, 20, 28, 3}, S{1, 1, 128, 64, 4}, S{1, 1, 160, 32, 2}, S{1, 1, 30, 33, 1}})
      for (const StateShape& s : steps) {
        const int64_t B = int64_t(s.len.size()), C = 2 * n.hk * n.k + n.hv * n.v, gates = channels ? n.hv * n.k : n.hv, past = round_up(n.taps * C, 16);
        Tensor qkv = shape({B, C}), a = shape({B, gates}), b = shape({B, n.hv});
        qkv.stride[0] = a.stride[0] = b.stride[0] = C + gates + n.hv + 12;  // parts of one product
        DeltaStep op{qkv, shape({C, n.taps}), a, b, shape({n.hv}), shape({gates}), make_state(s, past + n.hv * n.k * n.v), past, n.hk, shape({B, n.hv, n.v})};
        list.push_back({std::string(channels ? "kda " : "gdn ") + s.label + ", " + std::to_string(n.hv) + " heads " + std::to_string(n.k) + "x" + std::to_string(n.v) + ", " + std::to_string(n.taps) + " taps",
                        op, [&s](DeltaStep& g) { fill_state(s, g.state); }});
      }
  return list;
}

const OpSpec<DeltaStep> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<DeltaStep, reference>();

}  // namespace
}  // namespace xylem
