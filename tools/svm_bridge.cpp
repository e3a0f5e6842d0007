// Pointers as kernel arguments for drivers that know buffers alone, as oclgrind: every allocation is a buffer whose address a
// kernel has told, so that the simulator still sees where each begins and ends. Drivers with shared virtual memory are left
// as they are. Linked into a program, these functions stand before the driver's.
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

namespace {

template <class F>
F real(F, const char* name) {
  void* f = dlsym(RTLD_NEXT, name);
  if (!f) std::fprintf(stderr, "svm_bridge: the driver has no %s\n", name), std::_Exit(1);
  return reinterpret_cast<F>(f);
}
#define REAL(f) real(&f, #f)

struct Block {
  cl_mem memory;
  size_t bytes;
  std::map<size_t, std::vector<uintptr_t>> parts;  // by offset: a handle to what lies behind it
};
std::map<uintptr_t, Block>& blocks() {
  static std::map<uintptr_t, Block> b;
  return b;
}
// The block that holds p, and p's place in it; null if it is the host's.
Block* block_of(const void* p, size_t& offset) {
  auto it = blocks().upper_bound(reinterpret_cast<uintptr_t>(p));
  if (it == blocks().begin()) return nullptr;
  --it;
  offset = reinterpret_cast<uintptr_t>(p) - it->first;
  return offset <= it->second.bytes ? &it->second : nullptr;
}

bool bridged(cl_device_id d) {
  cl_device_svm_capabilities c = 0;
  REAL(clGetDeviceInfo)(d, CL_DEVICE_SVM_CAPABILITIES, sizeof c, &c, nullptr);
  return !(c & CL_DEVICE_SVM_COARSE_GRAIN_BUFFER);
}
cl_device_id device_of(cl_context c) {
  cl_device_id d = nullptr;
  clGetContextInfo(c, CL_CONTEXT_DEVICES, sizeof d, &d, nullptr);
  return d;
}

// Runs a kernel that says where a buffer lies.
uintptr_t address_of(cl_context context, cl_mem memory) {
  static const char* const kText = "__kernel void where(__global char* p, __global ulong* out) { *out = (ulong)p; }";
  static cl_command_queue queue = nullptr;
  static cl_kernel kernel = nullptr;
  static cl_mem out = nullptr;
  static cl_context made_for = nullptr;
  cl_int e;
  if (made_for != context) {
    cl_device_id d = device_of(context);
    queue = clCreateCommandQueueWithProperties(context, d, nullptr, &e);
    cl_program p = clCreateProgramWithSource(context, 1, const_cast<const char**>(&kText), nullptr, &e);
    clBuildProgram(p, 1, &d, "", nullptr, nullptr);
    kernel = clCreateKernel(p, "where", &e);
    out = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof(cl_ulong), nullptr, &e);
    made_for = context;
  }
  REAL(clSetKernelArg)(kernel, 0, sizeof memory, &memory);
  REAL(clSetKernelArg)(kernel, 1, sizeof out, &out);
  const size_t one = 1;
  clEnqueueNDRangeKernel(queue, kernel, 1, nullptr, &one, &one, 0, nullptr, nullptr);
  cl_ulong address = 0;
  clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof address, &address, 0, nullptr, nullptr);
  return uintptr_t(address);
}

// A copy of a buffer's handle with another address in it. (A sub-buffer would do, but oclgrind takes its bytes for new ones that
// nobody has set.)
std::vector<uintptr_t> handle_at(cl_mem memory, uintptr_t base, size_t offset) {
  const auto* words = reinterpret_cast<const uintptr_t*>(memory);
  std::vector<uintptr_t> copy(words, words + malloc_usable_size(memory) / sizeof(uintptr_t));
  const auto at = std::find(copy.begin(), copy.end(), base);
  if (at == copy.end()) std::fputs("svm_bridge: this driver's handles do not hold addresses\n", stderr), std::_Exit(1);
  *at += offset;
  return copy;
}

}  // namespace

extern "C" {

cl_int clGetDeviceInfo(cl_device_id d, cl_device_info what, size_t room, void* to, size_t* needed) {
  if (what == CL_DEVICE_SVM_CAPABILITIES && to && room >= sizeof(cl_device_svm_capabilities) && bridged(d)) {
    *static_cast<cl_device_svm_capabilities*>(to) = CL_DEVICE_SVM_COARSE_GRAIN_BUFFER;
    return CL_SUCCESS;
  }
  return REAL(clGetDeviceInfo)(d, what, room, to, needed);
}

void* clSVMAlloc(cl_context c, cl_svm_mem_flags flags, size_t bytes, cl_uint align) {
  if (!bridged(device_of(c))) return REAL(clSVMAlloc)(c, flags, bytes, align);
  cl_int e;
  cl_mem m = clCreateBuffer(c, CL_MEM_READ_WRITE, bytes, nullptr, &e);
  if (e != CL_SUCCESS) return nullptr;
  const uintptr_t p = address_of(c, m);
  blocks()[p] = {m, bytes, {}};
  return reinterpret_cast<void*>(p);
}
void clSVMFree(cl_context c, void* p) {
  const auto it = blocks().find(reinterpret_cast<uintptr_t>(p));
  if (it == blocks().end()) return REAL(clSVMFree)(c, p);
  // The buffer stays: oclgrind gives its number to a later one, whose bytes it then takes for set, or not, as these were.
  blocks().erase(it);
}

cl_int clSetKernelArgSVMPointer(cl_kernel k, cl_uint i, const void* p) {
  size_t offset = 0;
  Block* b = block_of(p, offset);
  if (!b) return REAL(clSetKernelArgSVMPointer)(k, i, p);
  cl_mem m = b->memory;
  if (offset) {
    std::vector<uintptr_t>& part = b->parts[offset];
    if (part.empty()) part = handle_at(b->memory, reinterpret_cast<uintptr_t>(p) - offset, offset);
    m = reinterpret_cast<cl_mem>(part.data());
  }
  return clSetKernelArg(k, i, sizeof m, &m);
}
cl_int clSetKernelExecInfo(cl_kernel k, cl_kernel_exec_info what, size_t bytes, const void* value) {
  return blocks().empty() ? REAL(clSetKernelExecInfo)(k, what, bytes, value) : CL_SUCCESS;
}

cl_int clEnqueueSVMMemcpy(cl_command_queue q, cl_bool wait, void* to, const void* from, size_t bytes, cl_uint n, const cl_event* events, cl_event* event) {
  size_t to_offset = 0, from_offset = 0;
  Block *a = block_of(to, to_offset), *b = block_of(from, from_offset);
  if (!a && !b) return REAL(clEnqueueSVMMemcpy)(q, wait, to, from, bytes, n, events, event);
  if (a && b) return clEnqueueCopyBuffer(q, b->memory, a->memory, from_offset, to_offset, bytes, n, events, event);
  if (a) return clEnqueueWriteBuffer(q, a->memory, CL_TRUE, to_offset, bytes, from, n, events, event);
  return clEnqueueReadBuffer(q, b->memory, CL_TRUE, from_offset, bytes, to, n, events, event);
}
}
