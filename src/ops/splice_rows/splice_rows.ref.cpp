#include "ops/splice_rows/splice_rows.h"

#include "device/op_spec.h"

namespace xylem {
namespace {

void reference(const SpliceRows& a) {
  for (int64_t t = 0; t < a.x.rows(); t++) {
    const int64_t row = a.rows.as<int32_t>()[t];
    if (row < 0) continue;
    for (int64_t i = 0; i < a.x.cols(); i++) a.x.row(t)[i] = row < a.from.dim[0] ? a.from.row(row)[i] : 0.0f;
  }
}

CaseList<SpliceRows> cases() {
  CaseList<SpliceRows> list;
  for (int64_t n : {1, 31, 768, 2560}) {
    list.push_back({"7x" + std::to_string(n), {shape({7, n}), shape({3, n}), shape({7}, DType::kI32)}, [](SpliceRows& a) {
                      const int32_t rows[7] = {-1, 2, 0, 3, INT32_MAX, INT32_MIN, 1};
                      std::memcpy(a.rows.data, rows, sizeof rows);
                    }});
    list.push_back({"1x" + std::to_string(n), {shape({1, n}), shape({1, n}), shape({1}, DType::kI32)}, {}});
  }
  list.push_back({"300 of 280", {shape({300, 640}), shape({280, 640}), shape({300}, DType::kI32)}, [](SpliceRows& a) {
                    for (int32_t t = 0; t < 300; t++) a.rows.as<int32_t>()[t] = t < 10 ? -1 : t - 10;
                  }});
  return list;
}

const OpSpec<SpliceRows> spec(reference, cases, 1e-20);  // exact
const auto* const ref = register_reference<SpliceRows, reference>();

}  // namespace
}  // namespace xylem
