// Whether a device does what its extensions promise: some compilers build matrix instructions that store nothing of use, and say
// that all is well.
#pragma once
#include "device/opencl/opencl_device.h"

namespace xylem {

// Sums, exchanges and a matrix product of the lanes that kernels are compiled for (OpenClInfo), compared with the host's.
Status probe_lanes(OpenClDevice& d);

}  // namespace xylem
