#include "ops/moe/moe.h"

#include <cmath>
#include <vector>

#include "device/op_spec.h"
#include "ops/act_mul/act.ref.h"
namespace xylem {
namespace {
void reference(const MoeExperts& a) {
  const int64_t H = a.x.cols(), I = a.down.dim[2], k = a.ids.cols();
  auto rounded = [&](float v) { return double(a.round_x ? bf16_to_f32(f32_to_bf16(v)) : v); };
  auto bias = [](const Tensor& b, int64_t e, int64_t n) { return b ? double(b.row(e)[n]) : 0.0; };
  std::vector<std::vector<double>> gate_up, down;
  for (int64_t e = 0; e < a.down.dim[0]; e++) gate_up.push_back(unpacked(a.gate_up, e)), down.push_back(unpacked(a.down, e));
  std::vector<double> mid(static_cast<size_t>(I)), out(static_cast<size_t>(H)), x(static_cast<size_t>(H));
  for (int64_t t = 0; t < a.x.rows(); t++) {
    std::fill(out.begin(), out.end(), 0.0);
    for (int64_t h = 0; h < H; h++) x[size_t(h)] = rounded(a.x.row(t)[h]);
    for (int64_t i = 0; i < k; i++) {
      const int64_t e = a.ids.as<int32_t>()[t * k + i];
      for (int64_t j = 0; j < I; j++) {
        double g = bias(a.gate_up_bias, e, j), u = bias(a.gate_up_bias, e, I + j);
        const double *gate = &gate_up[size_t(e)][size_t(j * H)], *up = gate + I * H;
        for (int64_t h = 0; h < H; h++) g += x[size_t(h)] * gate[h], u += x[size_t(h)] * up[h];
        mid[size_t(j)] = rounded(float(gated_reference(a.act, float(g), float(u), a.limit)));
      }
      for (int64_t h = 0; h < H; h++) {
        double s = bias(a.down_bias, e, h);
        for (int64_t j = 0; j < I; j++) s += mid[size_t(j)] * down[size_t(e)][size_t(h * I + j)];
        out[size_t(h)] += s * a.weights.as()[t * k + i];
      }
    }
    for (int64_t h = 0; h < H; h++) a.y.row(t)[h] = float(out[size_t(h)]);
  }
}
CaseList<MoeExperts> cases() {
  CaseList<MoeExperts> list;
  struct S {
    int64_t t, e, k, h, i;
    bool one;
  };
  for (DType w : {DType::kBF16, DType::kF32, DType::kF16, DType::kF8E4M3, DType::kMxfp4})
    for (bool round : {false, true})
      for (S s : {S{1, 8, 2, 64, 48, false}, S{5, 8, 2, 96, 40, false}, S{40, 4, 2, 64, 32, false},
                  S{33, 16, 4, 70, 24, true}, S{1, 1, 1, 1, 1, false}, S{1, 4, 4, 288, 320, false},
                  S{70, 4, 2, 320, 96, true}}) {
        if (w == DType::kMxfp4 && (s.h % kMxfp4Group || s.i % kMxfp4Group)) continue;
        list.push_back({std::string(dtype_name(w)) + (round ? " bf16-x " : " f32-x ") + std::to_string(s.t) +
                            " tokens, " + std::to_string(s.e) + " experts" + (s.one ? ", one has most" : ""),
                        {shape({s.t, s.h}), shape({s.t, s.k}, DType::kI32), shape({s.t, s.k}),
                         packed_shape({s.e, 2 * s.i, s.h}, w), packed_shape({s.e, s.h, s.i}, w), shape({s.t, s.h}),
                         round ? Act::kSilu : Act::kGeluTanh, round},
                        [s](MoeExperts& a) {
                          std::mt19937 rng(3);
                          for (int64_t t = 0; t < s.t; t++)
                            for (int64_t i = 0; i < s.k; i++)  // distinct within a token
                              a.ids.as<int32_t>()[t * s.k + i] =
                                  int32_t(s.one && i == 0 ? 0 : (int64_t(rng()) % (s.e / s.k) * s.k + i) % s.e);
                        },
                        round ? 1e-6 : 0});  // the rounding of the middle may fall the other way
        if (s.h < 64) continue;
        Case<MoeExperts> biased = list.back();
        biased.label += ", biases, clamped";
        biased.op.act = Act::kClampedSwiglu, biased.op.limit = 1.5f;
        biased.op.gate_up_bias = shape({s.e, 2 * s.i}), biased.op.down_bias = shape({s.e, s.h});
        list.push_back(biased);
        if (s.t != 5 || w != DType::kBF16) continue;
        Case<MoeExperts> erf = list[list.size() - 2];
        erf.label += ", exact gelu", erf.op.act = Act::kGeluErf;
        list.push_back(erf);
      }
  return list;
}
const OpSpec<MoeExperts> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<MoeExperts, reference>();
}  // namespace
}  // namespace xylem
