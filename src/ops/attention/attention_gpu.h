// The OpenCL kernels of Attention, for ops that make a cache of their own.
#pragma once
#include "device/opencl/opencl_device.h"
#include "ops/attention/attention.h"

namespace xylem {

struct AttentionForm {
  bool (*supports)(const Attention&, const Device&);  // looks at shapes and types alone
  // split: the keys of a query may be shared among work-groups. Not with a cache in OpenClDevice::scratch, which that
  // asks for.
  void (*run)(const Attention&, OpenClDevice&, bool split);
};
// Ends the program unless every tensor fits the others; q in place of a's.
void check_attention(const Attention& a, const Tensor& q);
extern const AttentionForm kAttentionVector, kAttentionMatrix, kAttentionMma;

}  // namespace xylem
