#include "ops/act_mul/act_mul.h"
#include "ops/fused_gemv/fused_gemv.h"
#include "ops/gate_up/gate_up.h"
#include "ops/matmul/matmul.h"
#include "ops/residual_norm/residual_norm.h"
#include "ops/run_reference.h"

namespace xylem {
namespace {

void reference(const FusedGemv& a) {
  const int64_t K = a.inputs(), N = a.w.outputs(), parts = a.y.rows();
  std::vector<float> s(static_cast<size_t>(K)), r(s.size()), v(s.size());
  const auto row = [&](std::vector<float>& of) { return make_tensor(of.data(), DType::kF32, {1, K}); };
  const auto keep = [&](const Tensor& to, const std::vector<float>& of) {
    if (to) std::copy(of.begin(), of.end(), to.row(0));
  };
  for (int64_t i = 0; i < K; i++) {
    double sum = 0;
    for (int64_t p = 0; p < a.x.rows(); p++) sum += double(a.x.row(p)[i]);
    s[size_t(i)] = float(sum);
  }
  keep(a.sum, s), v = s;
  if (a.input == FusedGemv::Input::kGated) run_reference(ActMul{row(s), a.up, row(v), a.act, a.limit});
  if (a.input == FusedGemv::Input::kNormed) {
    std::copy_n(a.from.row(0), K, r.data());
    ResidualNorm n{row(s), a.x_w, {}, {}, {}, row(r), a.scale, {}, {}, a.eps, a.w_offset};
    if (a.h_w) n.y[0] = row(v), n.y_w[0] = a.h_w;
    run_reference(n);
    if (!a.h_w) v = r;
    keep(a.r, r);
  }
  keep(a.h, v);
  if (a.gated_y) return run_reference(GateUp{row(v), a.w, a.bias, a.y, a.act, a.limit, a.round_x});
  const int64_t of_part = FusedGemv::part_inputs(K, parts);
  for (int64_t p = 0; p < parts; p++) {  // other inputs are zeros
    std::vector<float> part(v.size());
    std::copy(v.begin() + p * of_part, v.begin() + std::min(K, (p + 1) * of_part), part.begin() + p * of_part);
    run_reference(MatMul{row(part), a.w, p == 0 ? a.bias : Tensor{}, make_tensor(a.y.row(p), DType::kF32, {1, N}), a.round_x});
  }
}

struct Shape {
  FusedGemv::Input input;
  int64_t n, k, x_parts, parts;
  bool keep = false, bias = false, x_w = true, h_w = true, scale = false;
  Act act = Act::kGeluTanh;
  float w_offset = 0;
  bool gated_y = false;
};

Case<FusedGemv> make_case(const Shape& s) {
  using Input = FusedGemv::Input;
  const auto row = [&](bool there) { return there ? shape({1, s.k}) : Tensor{}; };
  const auto vector = [&](bool there, int64_t n) { return there ? shape({n}) : Tensor{}; };
  const bool normed = s.input == Input::kNormed;
  FusedGemv a;
  a.input = s.input, a.x = shape({s.x_parts, s.k}), a.w = packed_shape({s.n, s.k}, DType::kBF16), a.y = shape({s.parts, s.gated_y ? s.n / 2 : s.n}), a.gated_y = s.gated_y;
  a.x.stride[0] += s.keep ? 24 : 0, a.y.stride[0] += s.keep ? 8 : 0;
  a.sum = row(s.keep), a.h = row(s.keep), a.up = row(s.input == Input::kGated), a.from = row(normed), a.r = row(normed);
  a.x_w = vector(normed && s.x_w, s.k), a.h_w = vector(normed && s.h_w, s.k), a.scale = vector(s.scale, 1), a.bias = vector(s.bias, s.n);
  a.act = s.act, a.limit = s.act == Act::kClampedSwiglu ? 7.0f : 0.0f, a.w_offset = s.w_offset, a.round_x = true;
  const char* names[] = {"sum", "gated", "normed"};
  // The last bit of an input decides how it is rounded to bfloat16.
  return {std::string(names[int(s.input)]) + " of " + std::to_string(s.x_parts) + " " + std::to_string(s.n) + "x" + std::to_string(s.k) + " in " + std::to_string(s.parts) + (s.gated_y ? ", gated" : ""), a, {}, 1e-6};
}

CaseList<FusedGemv> cases() {
  using Input = FusedGemv::Input;
  CaseList<FusedGemv> list;
  for (const Shape& s : {Shape{Input::kSum, 16, 256, 1, 1}, Shape{Input::kSum, 97, 1000, 1, 1, true, true}, Shape{Input::kGated, 128, 64, 1, 1, true}, Shape{Input::kNormed, 64, 128, 2, 1}, Shape{Input::kGated, 128, 1024, 1, 2}, Shape{Input::kSum, 1536, 2048, 1, 1}, Shape{Input::kSum, 40, 6150, 3, 5, true},
                         Shape{Input::kGated, 1536, 256, 3, 1}, Shape{Input::kGated, 96, 6144, 1, 4}, Shape{Input::kGated, 33, 514, 2, 2, true, true, true, true, false, Act::kClampedSwiglu},
                         Shape{Input::kGated, 48, 2880, 1, 3, false, true, true, true, false, Act::kSilu}, Shape{Input::kNormed, 256, 1536, 4, 3, true}, Shape{Input::kNormed, 2560, 1536, 1, 1},
                         Shape{Input::kNormed, 70, 1536, 4, 6, true, true, true, false, false}, Shape{Input::kNormed, 64, 512, 1, 1, false, false, false, true, true},
                         Shape{Input::kNormed, 35, 1030, 2, 2, true, false, true, true, true, Act::kSilu, 1.0f}, Shape{Input::kNormed, 32, 5376, 1, 2, false, false, true, true, true},
                         Shape{Input::kNormed, 1088, 1536, 4, 1, true, false, true, true, false, Act::kGeluTanh, 0, true}, Shape{Input::kSum, 96, 2600, 1, 1, true, true, true, true, false, Act::kClampedSwiglu, 0, true},
                         Shape{Input::kNormed, 320, 130, 2, 1, false, true, true, true, false, Act::kSilu, 1.0f, true}, Shape{Input::kNormed, 4512, 130, 1, 1, false, true, true, true, false, Act::kSilu, 1.0f, true}})
    list.push_back(make_case(s));
  return list;
}
const OpSpec<FusedGemv> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<FusedGemv, reference>();

}  // namespace
}  // namespace xylem
