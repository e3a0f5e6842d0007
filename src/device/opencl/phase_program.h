// Compiled plans of an OpenCL device: launches with their arguments bound, enqueued in a loop or as the driver's command buffer.
// Where work-groups can be relied on to run at the same time (OpenClInfo::phase_groups), neighbouring phase kernels (phase.clh)
// become one persistent launch of a program made of their sources.
#pragma once
#include "device/opencl/opencl_device.h"

namespace xylem {

bool is_phase_kernel(const std::string& file, const std::string& entry);
// The source of a program that runs any of these kernels as a phase; kernel i is phase kind i. Its entry is "phases".
Result<std::string> phase_source(const std::vector<const GpuKernel*>& kernels);
std::unique_ptr<CompiledPlan> compile_launches(OpenClDevice& d, std::vector<BoundLaunch> launches, std::vector<Buffer> memory = {});  // memory: that the launches use alone

}  // namespace xylem
