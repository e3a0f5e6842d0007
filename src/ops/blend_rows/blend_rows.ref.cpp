#include "ops/blend_rows/blend_rows.h"

#include "device/op_spec.h"

namespace xylem {
namespace {

void reference(const BlendRows& a) {
  const int64_t K = a.ids.cols();
  for (int64_t t = 0; t < a.x.rows(); t++)
    for (int64_t c = 0; c < a.x.cols(); c++) {
      double v = a.x.row(t)[c];
      for (int64_t j = 0; j < K; j++)
        v += double(a.weights.as()[t * K + j]) * double(load_f32(a.table.data, a.ids.as<int32_t>()[t * K + j] * a.table.stride[0] + c, a.table.dtype));
      a.y.row(t)[c] = float(v);
    }
}

void some_ids(BlendRows& a) {  // the first and the last one too
  const int64_t N = a.table.dim[0];
  for (int64_t i = 0; i < a.ids.numel(); i++) a.ids.as<int32_t>()[i] = int32_t(i == 0 ? N - 1 : i * 7 % N);
}

CaseList<BlendRows> cases() {
  CaseList<BlendRows> list;
  for (DType type : {DType::kF32, DType::kBF16, DType::kF16})
    for (int64_t K : {1, 2, 4})
      for (int64_t C : {1, 63, 768, 1152})
        for (int64_t T : {1, 6}) {
          Tensor table = shape({11, C}, type);
          table.stride[0] = C + (K == 2 ? 5 : 0);
          const std::string label = std::string(dtype_name(type)) + " " + std::to_string(T) + "x" + std::to_string(C) + " of " + std::to_string(K);
          list.push_back({label, {shape({T, C}), table, shape({T, K}, DType::kI32), shape({T, K}), shape({T, C})}, some_ids});
        }
  Tensor x = shape({5, 40});
  x.stride[0] = 67;
  list.push_back({"strided", {x, shape({30, 40}), shape({5, 4}, DType::kI32), shape({5, 4}), x}, some_ids});
  list.push_back({"in place", {shape({50, 768}), shape({2304, 768}, DType::kBF16), shape({50, 4}, DType::kI32), shape({50, 4}), shape({50, 768})}, [](BlendRows& a) {
                    some_ids(a);
                    a.y = a.x;
                  }});
  return list;
}

const OpSpec<BlendRows> spec(reference, cases, 1e-12);
const auto* const ref = register_reference<BlendRows, reference>();

}  // namespace
}  // namespace xylem
