#include <algorithm>
#include <cstdlib>

#include "device/opencl/opencl_device.h"

namespace xylem {
namespace {

std::string text_of(cl_device_id id, cl_device_info what) {
  size_t n = 0;
  if (clGetDeviceInfo(id, what, 0, nullptr, &n) != CL_SUCCESS || n == 0) return "";
  std::string s(n, 0);
  clGetDeviceInfo(id, what, n, s.data(), nullptr);
  while (!s.empty() && (s.back() == 0 || s.back() == ' ')) s.pop_back();
  return s;
}
template <class T>
T value_of(cl_device_id id, cl_device_info what) {
  T v{};
  clGetDeviceInfo(id, what, sizeof v, &v, nullptr);
  return v;
}

OpenClInfo describe(cl_platform_id platform, cl_device_id id, int index) {
  OpenClInfo d;
  d.index = index, d.platform = platform, d.id = id;
  d.name = text_of(id, CL_DEVICE_NAME), d.vendor = text_of(id, CL_DEVICE_VENDOR), d.driver = text_of(id, CL_DRIVER_VERSION);
  d.version = text_of(id, CL_DEVICE_VERSION), d.extensions = " " + text_of(id, CL_DEVICE_EXTENSIONS) + " ";
  d.gpu = value_of<cl_device_type>(id, CL_DEVICE_TYPE) & CL_DEVICE_TYPE_GPU;
  d.intel = d.gpu && value_of<cl_uint>(id, CL_DEVICE_VENDOR_ID) == 0x8086;
  d.integrated = value_of<cl_bool>(id, CL_DEVICE_HOST_UNIFIED_MEMORY);
  d.memory_bytes = size_t(value_of<cl_ulong>(id, CL_DEVICE_GLOBAL_MEM_SIZE)), d.max_alloc_bytes = size_t(value_of<cl_ulong>(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE));
  d.local_bytes = size_t(value_of<cl_ulong>(id, CL_DEVICE_LOCAL_MEM_SIZE)), d.compute_units = int(value_of<cl_uint>(id, CL_DEVICE_MAX_COMPUTE_UNITS));
  const auto has = [&](const char* name) { return d.extensions.find(std::string(" ") + name + " ") != std::string::npos; };
  d.usm = has("cl_intel_unified_shared_memory");
  d.svm = value_of<cl_device_svm_capabilities>(id, CL_DEVICE_SVM_CAPABILITIES) & CL_DEVICE_SVM_COARSE_GRAIN_BUFFER;
  d.command_buffers = has("cl_khr_command_buffer");
  // By capability: sub-groups of a required width make an Intel GPU's lanes, its matrix extension DPAS.
  if (d.intel && has("cl_intel_subgroups") && has("cl_intel_required_subgroup_size")) {
    d.lanes = LaneMode::kIntel;
    d.matrix = has("cl_intel_subgroup_matrix_multiply_accumulate");
    size_t widths[8] = {};
    size_t bytes = 0;
    clGetDeviceInfo(id, 0x4108 /* CL_DEVICE_SUB_GROUP_SIZES_INTEL */, sizeof widths, widths, &bytes);
    const bool eight = std::find(widths, widths + bytes / sizeof *widths, size_t(8)) != widths + bytes / sizeof *widths;
    d.sub_group = eight ? 8 : 16;  // devices with 8 lanes have DPAS of width 8; the others refuse that width
  } else if (has("cl_nv_device_attribute_query") || has("cl_nv_compiler_options")) {  // NVIDIA's compiler, which takes PTX
    d.lanes = LaneMode::kNvidia;
  }
  // NVIDIA runs as many work-groups as it has compute units at the same time when nobody else is on the card. Elsewhere that is not
  // certain, nor is it known what joining gains.
  if (d.lanes == LaneMode::kNvidia) d.phase_groups = d.compute_units;
  if (const char* groups = std::getenv("XYLEM_PHASE_GROUPS")) d.phase_groups = std::clamp(std::atoi(groups), 0, 4096);
  if (!d.usm && !d.svm) d.problem = "the driver has neither unified shared memory nor shared virtual memory";
  if (!value_of<cl_bool>(id, CL_DEVICE_COMPILER_AVAILABLE)) d.problem = "the driver has no compiler";
  return d;
}

}  // namespace

std::vector<OpenClInfo> opencl_devices() {
  std::vector<OpenClInfo> list;
  cl_uint n = 0;
  if (clGetPlatformIDs(0, nullptr, &n) != CL_SUCCESS) return list;
  std::vector<cl_platform_id> platforms(n);
  clGetPlatformIDs(n, platforms.data(), nullptr);
  for (cl_platform_id p : platforms) {
    cl_uint m = 0;
    if (clGetDeviceIDs(p, CL_DEVICE_TYPE_ALL, 0, nullptr, &m) != CL_SUCCESS) continue;
    std::vector<cl_device_id> ids(m);
    clGetDeviceIDs(p, CL_DEVICE_TYPE_ALL, m, ids.data(), nullptr);
    for (cl_device_id id : ids) list.push_back(describe(p, id, int(list.size())));
  }
  return list;
}

}  // namespace xylem
