// Put before the OpenCL driver by LD_PRELOAD; XYLEM_OPENCL_FAULTS says what goes wrong (fault_injection.h).
#include "device/opencl/fault_injection.h"

namespace {
const bool read = (xylem::opencl_faults_from_environment(), true);
}
