// The type of a table's numbers as float_table.clh takes it.
#pragma once
#include "tensor/tensor.h"

namespace xylem {

inline int float_table_type(const Tensor& t) {
  CHECK(t.dtype == DType::kF32 || t.dtype == DType::kBF16 || t.dtype == DType::kF16, dtype_name(t.dtype));
  return t.dtype == DType::kF32 ? 0 : t.dtype == DType::kBF16 ? 1 : 2;
}

}  // namespace xylem
