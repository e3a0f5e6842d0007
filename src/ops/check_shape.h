// What kernels rely on before they compute addresses from a call's tensors. A mismatch is a bug of the caller: it ends the
// program with the values, and never becomes an access out of bounds.
#pragma once
#include <initializer_list>

#include "tensor/tensor.h"

namespace xylem {

// A strided tensor of these dimensions and this type, whose last dimension is contiguous and whose strides do not go back.
inline void check_shape(const char* name, const Tensor& t, std::initializer_list<int64_t> dims, DType type = DType::kF32) {
  CHECK(t.data && t.layout == Layout::kStrided && t.dtype == type && size_t(t.rank) == dims.size(), name, dtype_name(t.dtype), int(t.rank), dims.size());
  size_t i = 0;
  for (int64_t d : dims) {
    const bool last = i + 1 == dims.size();
    CHECK(t.dim[i] == d && d >= 0, name, i, t.dim[i], d);
    CHECK(d <= 1 || (last ? t.stride[i] == 1 : t.stride[i] >= 0), name, i, t.stride[i]);
    i++;
  }
}
// The same without gaps.
inline void check_contiguous(const char* name, const Tensor& t, std::initializer_list<int64_t> dims, DType type = DType::kF32) {
  check_shape(name, t, dims, type);
  CHECK(t.contiguous(), name, t.stride[0], t.stride[1]);
}
// The same, to be written: no two elements are one.
inline void check_output(const char* name, const Tensor& t, std::initializer_list<int64_t> dims, DType type = DType::kF32) {
  check_shape(name, t, dims, type);
  int64_t below = t.cols();  // elements from the first to past the last of the dimensions behind
  for (int i = t.rank - 2; i >= 0; i--) {
    const auto at = size_t(i);
    CHECK(t.dim[at] <= 1 || t.stride[at] >= below, name, i, t.stride[at], below);
    if (t.dim[at] > 1) below += (t.dim[at] - 1) * t.stride[at];
  }
}

}  // namespace xylem
