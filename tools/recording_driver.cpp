#include "recording_driver.h"

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <CL/cl_ext.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace xylem {

RecordingDriver& recording_driver() {
  static RecordingDriver d;
  return d;
}

}  // namespace xylem

namespace {

using xylem::recording_driver;

// A call that is not below goes to the loader, which looks for the driver's functions behind every handle's first word.
[[noreturn]] void lacks() {
  std::fputs("tools/recording_driver.cpp lacks an OpenCL function that the program now calls: add it there\n", stderr);
  std::_Exit(1);
}
struct Table {
  std::array<void (*)(), 256> functions;
  Table() { functions.fill(lacks); }
};
struct Handle {
  const Table* table;
  Handle() {
    static const Table t;
    table = &t;
  }
};
struct Program : Handle {
  std::string source, options;
};
Handle platform, device, context, queue;

template <class T>
T handle(Handle& h) { return reinterpret_cast<T>(&h); }
void succeed(cl_int* e) { if (e) *e = CL_SUCCESS; }

cl_int give(const void* from, size_t bytes, size_t room, void* to, size_t* needed) {
  if (needed) *needed = bytes;
  if (to && room < bytes) return CL_INVALID_VALUE;
  if (to) std::memcpy(to, from, bytes);
  return CL_SUCCESS;
}
cl_int give(const char* text, size_t room, void* to, size_t* needed) { return give(text, std::strlen(text) + 1, room, to, needed); }
template <class T>
cl_int give_value(T v, size_t room, void* to, size_t* needed) { return give(&v, sizeof v, room, to, needed); }

// Addresses that nothing lies behind.
void* new_address(size_t bytes) {
  static std::atomic<size_t> next{size_t(1) << 44};
  return reinterpret_cast<void*>(next.fetch_add((bytes + 4095) / 4096 * 4096));
}
void* device_alloc(cl_context, cl_device_id, const cl_mem_properties_intel*, size_t bytes, cl_uint, cl_int* e) { return succeed(e), new_address(bytes); }
cl_int device_free(cl_context, void*) { return CL_SUCCESS; }
cl_int set_pointer(cl_kernel, cl_uint, const void*) { return CL_SUCCESS; }
cl_int memcpy_nothing(cl_command_queue, cl_bool, void*, const void*, size_t, cl_uint, const cl_event*, cl_event*) { return CL_SUCCESS; }

constexpr char kExtensions[] =
    "cl_khr_byte_addressable_store cl_khr_global_int32_base_atomics cl_khr_local_int32_base_atomics cl_intel_subgroups cl_intel_required_subgroup_size "
    "cl_intel_subgroup_matrix_multiply_accumulate cl_intel_bfloat16_conversions cl_intel_unified_shared_memory";

}  // namespace

extern "C" {

cl_int clGetPlatformIDs(cl_uint, cl_platform_id* p, cl_uint* n) {
  if (p) *p = handle<cl_platform_id>(platform);
  if (n) *n = 1;
  return CL_SUCCESS;
}
cl_int clGetDeviceIDs(cl_platform_id, cl_device_type, cl_uint, cl_device_id* d, cl_uint* n) {
  if (d) *d = handle<cl_device_id>(device);
  if (n) *n = 1;
  return CL_SUCCESS;
}
cl_int clGetDeviceInfo(cl_device_id, cl_device_info what, size_t room, void* to, size_t* needed) {
  switch (what) {
    case CL_DEVICE_NAME: return give("recording driver", room, to, needed);
    case CL_DEVICE_VENDOR: return give("Intel(R) Corporation", room, to, needed);
    case CL_DRIVER_VERSION: return give("1", room, to, needed);
    case CL_DEVICE_VERSION: return give("OpenCL 3.0", room, to, needed);
    case CL_DEVICE_EXTENSIONS: return give(kExtensions, room, to, needed);
    case CL_DEVICE_TYPE: return give_value<cl_device_type>(CL_DEVICE_TYPE_GPU, room, to, needed);
    case CL_DEVICE_VENDOR_ID: return give_value<cl_uint>(0x8086, room, to, needed);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE: return give_value<cl_ulong>(cl_ulong(1) << 42, room, to, needed);
    case CL_DEVICE_LOCAL_MEM_SIZE: return give_value<cl_ulong>(64 << 10, room, to, needed);
    case CL_DEVICE_MAX_COMPUTE_UNITS: return give_value<cl_uint>(160, room, to, needed);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE: return give_value<size_t>(1024, room, to, needed);
    case CL_DEVICE_COMPILER_AVAILABLE: return give_value<cl_bool>(CL_TRUE, room, to, needed);
    case 0x4108: {  // CL_DEVICE_SUB_GROUP_SIZES_INTEL
      const size_t widths[] = {recording_driver().sub_group == 8 ? size_t(8) : 16, recording_driver().sub_group == 8 ? size_t(16) : 32};
      return give(widths, sizeof widths, room, to, needed);
    }
    default: {  // all else: none of it
      const cl_ulong none = 0;
      return give(&none, std::min(room, sizeof none), room, to, needed);
    }
  }
}
void* clGetExtensionFunctionAddressForPlatform(cl_platform_id, const char* name) {
  const std::string s = name;
  if (s == "clDeviceMemAllocINTEL") return reinterpret_cast<void*>(device_alloc);
  if (s == "clMemBlockingFreeINTEL") return reinterpret_cast<void*>(device_free);
  if (s == "clSetKernelArgMemPointerINTEL") return reinterpret_cast<void*>(set_pointer);
  if (s == "clEnqueueMemcpyINTEL") return reinterpret_cast<void*>(memcpy_nothing);
  return nullptr;
}

cl_context clCreateContext(const cl_context_properties*, cl_uint, const cl_device_id*, void (*)(const char*, const void*, size_t, void*), void*, cl_int* e) {
  return succeed(e), handle<cl_context>(context);
}
cl_command_queue clCreateCommandQueueWithProperties(cl_context, cl_device_id, const cl_queue_properties*, cl_int* e) { return succeed(e), handle<cl_command_queue>(queue); }
cl_int clReleaseContext(cl_context) { return CL_SUCCESS; }
cl_int clReleaseCommandQueue(cl_command_queue) { return CL_SUCCESS; }
cl_int clFlush(cl_command_queue) { return CL_SUCCESS; }
cl_int clFinish(cl_command_queue) { return CL_SUCCESS; }

cl_program clCreateProgramWithSource(cl_context, cl_uint n, const char** text, const size_t* length, cl_int* e) {
  auto* p = new Program;
  for (cl_uint i = 0; i < n; i++) p->source += length && length[i] ? std::string(text[i], length[i]) : std::string(text[i]);
  return succeed(e), reinterpret_cast<cl_program>(p);
}
cl_int clBuildProgram(cl_program p, cl_uint, const cl_device_id*, const char* options, void (*)(cl_program, void*), void*) {
  reinterpret_cast<Program*>(p)->options = options;
  return CL_SUCCESS;
}
cl_program clCreateProgramWithBinary(cl_context, cl_uint, const cl_device_id*, const size_t*, const unsigned char**, cl_int*, cl_int* e) {
  if (e) *e = CL_INVALID_BINARY;
  return nullptr;
}
cl_int clGetProgramInfo(cl_program, cl_program_info, size_t, void*, size_t*) { return CL_INVALID_VALUE; }  // so nothing is kept
cl_int clGetProgramBuildInfo(cl_program, cl_device_id, cl_program_build_info, size_t room, void* to, size_t* needed) { return give("", room, to, needed); }
cl_int clReleaseProgram(cl_program) { return CL_SUCCESS; }  // kernels refer to it

cl_kernel clCreateKernel(cl_program p, const char* entry, cl_int* e) {
  const auto& program = *reinterpret_cast<Program*>(p);
  recording_driver().kernels.insert({program.source, program.options, entry});
  return succeed(e), reinterpret_cast<cl_kernel>(new Handle);
}
cl_int clSetKernelArg(cl_kernel, cl_uint, size_t, const void*) { return CL_SUCCESS; }
cl_int clSetKernelArgSVMPointer(cl_kernel, cl_uint, const void*) { return CL_SUCCESS; }
cl_int clSetKernelExecInfo(cl_kernel, cl_kernel_exec_info, size_t, const void*) { return CL_SUCCESS; }
cl_int clReleaseKernel(cl_kernel k) { return delete reinterpret_cast<Handle*>(k), CL_SUCCESS; }
cl_int clEnqueueNDRangeKernel(cl_command_queue, cl_kernel, cl_uint, const size_t*, const size_t*, const size_t*, cl_uint, const cl_event*, cl_event*) {
  recording_driver().launches++;
  return CL_SUCCESS;
}
}
