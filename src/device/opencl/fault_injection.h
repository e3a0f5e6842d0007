// For tests: stands between the program and the OpenCL driver, and lets calls fail or devices look poorer than they are. Included
// by one file of a test program, or built as a library that LD_PRELOAD puts before the driver (tests/e2e/opencl_faults.cpp).
#pragma once
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <CL/cl_ext.h>

namespace xylem {

struct OpenClFaults {
  std::atomic<long> launches{0};        // since the program's start
  std::atomic<long> fail_after{-1};     // so many more launches succeed, then some fail; < 0: all succeed
  std::atomic<long> fail_count{1};      // how many fail
  std::atomic<int> code{CL_OUT_OF_RESOURCES};
  std::atomic<bool> fail_copies{false}; // copies count as launches
  std::atomic<bool> lose{false};        // the first one that fails takes the device with it: every later call fails too
  std::atomic<bool> lost{false};
  std::atomic<size_t> memory_bytes{0}, max_alloc_bytes{0};  // that devices say they have, and get; 0: the truth
  std::atomic<bool> no_driver{false}, no_svm{false};
  std::atomic<long> compiled{0};        // programs built from source
};

inline OpenClFaults& opencl_faults() {
  static OpenClFaults f;
  return f;
}

// From XYLEM_OPENCL_FAULTS="fail_after=40,fail_count=1,code=-5,lose=1,memory=N,max_alloc=N,no_driver=1,no_svm=1".
inline void opencl_faults_from_environment() {
  const char* env = std::getenv("XYLEM_OPENCL_FAULTS");
  OpenClFaults& f = opencl_faults();
  for (std::string s = env ? env : ""; !s.empty();) {
    const std::string item = s.substr(0, s.find(','));
    s.erase(0, item.size() + 1);
    const std::string key = item.substr(0, item.find('='));
    const long value = std::atol(item.c_str() + std::min(item.size(), key.size() + 1));
    if (key == "fail_after") f.fail_after = value;
    else if (key == "fail_count") f.fail_count = value;
    else if (key == "code") f.code = int(value);
    else if (key == "lose") f.lose = value != 0;
    else if (key == "memory") f.memory_bytes = size_t(value);
    else if (key == "max_alloc") f.max_alloc_bytes = size_t(value);
    else if (key == "no_driver") f.no_driver = value != 0;
    else if (key == "no_svm") f.no_svm = value != 0;
    else std::abort();
  }
}

namespace opencl_real {

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

// What a launch returns instead of being made; CL_SUCCESS: it is made.
inline cl_int launch_fault() {
  OpenClFaults& f = opencl_faults();
  f.launches++;
  if (f.lost) return f.code;
  long left = f.fail_after;  // one step: of two threads that come last, one fails
  do {
    if (left < 0) return CL_SUCCESS;
  } while (!f.fail_after.compare_exchange_weak(left, left - 1));
  if (left > 0) return CL_SUCCESS;
  if (f.lose) f.lost = true;
  if (--f.fail_count > 0) f.fail_after = 0;
  return f.code;
}
inline cl_int lost_fault() { return opencl_faults().lost ? opencl_faults().code.load() : CL_SUCCESS; }

inline clEnqueueCommandBufferKHR_fn command_buffer = nullptr;
inline cl_int CL_API_CALL enqueue_command_buffer(cl_uint n, cl_command_queue* queues, cl_command_buffer_khr b, cl_uint events, const cl_event* wait, cl_event* out) {
  const cl_int fault = launch_fault();
  return fault != CL_SUCCESS ? fault : command_buffer(n, queues, b, events, wait, out);
}

}  // namespace opencl_real
}  // namespace xylem

extern "C" {

cl_int CL_API_CALL clGetPlatformIDs(cl_uint n, cl_platform_id* ids, cl_uint* count) {
  static auto* const real = xylem::opencl_real::next<decltype(clGetPlatformIDs)>("clGetPlatformIDs");
  return xylem::opencl_faults().no_driver ? CL_PLATFORM_NOT_FOUND_KHR : real(n, ids, count);
}

cl_int CL_API_CALL clGetDeviceInfo(cl_device_id d, cl_device_info what, size_t size, void* value, size_t* used) {
  static auto* const real = xylem::opencl_real::next<decltype(clGetDeviceInfo)>("clGetDeviceInfo");
  const xylem::OpenClFaults& f = xylem::opencl_faults();
  const cl_int e = real(d, what, size, value, used);
  if (e != CL_SUCCESS || !value) return e;
  const auto lie = [&](cl_ulong v) { std::memcpy(value, &v, std::min(size, sizeof v)); };
  if (what == CL_DEVICE_GLOBAL_MEM_SIZE && f.memory_bytes) lie(f.memory_bytes);
  if (what == CL_DEVICE_MAX_MEM_ALLOC_SIZE && f.max_alloc_bytes) lie(f.max_alloc_bytes);
  if (what == CL_DEVICE_SVM_CAPABILITIES && f.no_svm) lie(0);
  return e;
}

void* CL_API_CALL clSVMAlloc(cl_context c, cl_svm_mem_flags flags, size_t bytes, cl_uint align) {
  static auto* const real = xylem::opencl_real::next<decltype(clSVMAlloc)>("clSVMAlloc");
  const xylem::OpenClFaults& f = xylem::opencl_faults();
  if (f.lost || (f.max_alloc_bytes && bytes > f.max_alloc_bytes)) return nullptr;
  return real(c, flags, bytes, align);
}

cl_int CL_API_CALL clEnqueueNDRangeKernel(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t* offset, const size_t* global, const size_t* local, cl_uint n,
                                          const cl_event* wait, cl_event* event) {
  static auto* const real = xylem::opencl_real::next<decltype(clEnqueueNDRangeKernel)>("clEnqueueNDRangeKernel");
  const cl_int fault = xylem::opencl_real::launch_fault();
  return fault != CL_SUCCESS ? fault : real(q, k, dims, offset, global, local, n, wait, event);
}

cl_int CL_API_CALL clEnqueueSVMMemcpy(cl_command_queue q, cl_bool block, void* to, const void* from, size_t bytes, cl_uint n, const cl_event* wait, cl_event* event) {
  static auto* const real = xylem::opencl_real::next<decltype(clEnqueueSVMMemcpy)>("clEnqueueSVMMemcpy");
  const cl_int fault = xylem::opencl_faults().fail_copies ? xylem::opencl_real::launch_fault() : xylem::opencl_real::lost_fault();
  return fault != CL_SUCCESS ? fault : real(q, block, to, from, bytes, n, wait, event);
}

cl_int CL_API_CALL clFinish(cl_command_queue q) {
  static auto* const real = xylem::opencl_real::next<decltype(clFinish)>("clFinish");
  const cl_int e = real(q), fault = xylem::opencl_real::lost_fault();
  return fault != CL_SUCCESS ? fault : e;
}

cl_program CL_API_CALL clCreateProgramWithSource(cl_context c, cl_uint n, const char** text, const size_t* sizes, cl_int* error) {
  static auto* const real = xylem::opencl_real::next<decltype(clCreateProgramWithSource)>("clCreateProgramWithSource");
  xylem::opencl_faults().compiled++;
  return real(c, n, text, sizes, error);
}

void* CL_API_CALL clGetExtensionFunctionAddressForPlatform(cl_platform_id p, const char* name) {
  static auto* const real = xylem::opencl_real::next<decltype(clGetExtensionFunctionAddressForPlatform)>("clGetExtensionFunctionAddressForPlatform");
  void* f = real(p, name);
  if (!f || std::strcmp(name, "clEnqueueCommandBufferKHR") != 0) return f;
  xylem::opencl_real::command_buffer = reinterpret_cast<clEnqueueCommandBufferKHR_fn>(f);
  return reinterpret_cast<void*>(&xylem::opencl_real::enqueue_command_buffer);
}

}  // extern "C"
