// Strides of a tensor's rows as kernels take them: ROW(p, s, r) of rows.clh.
#pragma once
#include "device/opencl/opencl_device.h"

namespace xylem {

struct alignas(16) Rows {
  int32_t stride0 = 0, stride1 = 0, inner = 1, reserved = 0;
  explicit Rows(const Tensor& t) {
    CHECK(t.rank <= 3 && t.stride[0] < INT32_MAX && t.stride[1] < INT32_MAX, int(t.rank), t.stride[0], t.stride[1]);
    if (t.rank == 3) stride0 = int32_t(t.stride[0]), stride1 = int32_t(t.stride[1]), inner = int32_t(t.dim[1]);
    else stride0 = t.rank == 2 ? int32_t(t.stride[0]) : 0;
  }
};
template <>
struct IsKernelArgument<Rows> : std::true_type {};

}  // namespace xylem
