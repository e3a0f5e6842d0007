#include "ops/matmul/matmul.h"

#include "device/op_spec.h"
namespace xylem {
namespace {
void reference(const MatMul& a) {
  const int64_t K = a.x.cols(), N = a.w.dim[0];
  const std::vector<double> w = unpacked(a.w, 0);
  for (int64_t m = 0; m < a.x.rows(); m++)
    for (int64_t n = 0; n < N; n++) {
      double s = a.bias ? a.bias.as()[n] : 0.0;
      for (int64_t k = 0; k < K; k++) {
        const float x = a.x.row(m)[k];
        s += double(a.round_x ? bf16_to_f32(f32_to_bf16(x)) : x) * w[size_t(n * K + k)];
      }
      a.y.row(m)[n] = float(s);
    }
}
CaseList<MatMul> cases() {
  CaseList<MatMul> list;
  struct S {
    int64_t m, n, k;
  };
  for (DType t : {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3, DType::kMxfp4})
    for (bool round : {false, true}) {
      const std::string type = std::string(dtype_name(t)) + (round ? " bf16-x " : " f32-x ");
      for (S s : {S{1, 16, 32},     S{1, 1, 1},      S{1, 97, 33},   S{1, 320, 192},  S{2, 48, 64},
                  S{3, 33, 65},     S{4, 64, 128},   S{5, 100, 70},  S{8, 64, 256},   S{12, 80, 96},
                  S{16, 112, 130},  S{17, 129, 192}, S{31, 70, 200}, S{33, 256, 512}, S{64, 96, 1100},
                  S{130, 200, 300}, S{257, 48, 64},  S{1, 50, 2880}, S{3, 40, 544},   S{70, 40, 544}}) {
        if (t == DType::kMxfp4 && s.k % kMxfp4Group) continue;
        list.push_back({type + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k),
                        {shape({s.m, s.k}), packed_shape({s.n, s.k}, t), {}, shape({s.m, s.n}), round},
                        {}});
      }
      list.push_back(
          {type + "bias 7x50x96", {shape({7, 96}), packed_shape({50, 96}, t), shape({50}), shape({7, 50}), round}, {}});
      Tensor x = shape({6, 64}), y = shape({6, 48});
      x.stride[0] = 100, y.stride[0] = 90;
      list.push_back({type + "strided 6x48x64", {x, packed_shape({48, 64}, t), {}, y, round}, {}});
    }
  return list;
}
const OpSpec<MatMul> spec(reference, cases, 1e-10);
const auto* const ref = register_reference<MatMul, reference>();
}  // namespace
}  // namespace xylem
