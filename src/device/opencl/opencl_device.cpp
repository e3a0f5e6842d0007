#include "device/opencl/opencl_device.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "device/op.h"
#include "device/opencl/lane_probe.h"
#include "device/opencl/phase_program.h"
#include "device/opencl/plan_rewrite.h"
#include "device/opencl/program_cache.h"

namespace xylem {
namespace {

template <class F>
void load_extension(cl_platform_id platform, const char* name, F& f) {
  f = reinterpret_cast<F>(clGetExtensionFunctionAddressForPlatform(platform, name));
}

}  // namespace

Result<std::unique_ptr<OpenClDevice>> OpenClDevice::open(const OpenClInfo& info, bool test) {
  if (!info.problem.empty()) return unsupported(fmt::format("OpenCL device {} ({}) cannot be used: {}", info.index, info.name, info.problem));
  std::unique_ptr<OpenClDevice> d(new OpenClDevice(info));
  TRY_VOID(d->start());
  if (test) d->check_lanes();
  return d;
}

Status OpenClDevice::start() {
  cl_int e = CL_SUCCESS;
  context_ = clCreateContext(nullptr, 1, &info_.id, nullptr, nullptr, &e);
  if (e != CL_SUCCESS) return internal_error(fmt::format("{}: clCreateContext fails with {}", info_.name, e));
  queue_ = clCreateCommandQueueWithProperties(context_, info_.id, nullptr, &e);
  if (e != CL_SUCCESS) return internal_error(fmt::format("{}: clCreateCommandQueue fails with {}", info_.name, e));
  if (info_.usm) {
    load_extension(info_.platform, "clDeviceMemAllocINTEL", device_alloc_);
    load_extension(info_.platform, "clMemBlockingFreeINTEL", device_free_);
    load_extension(info_.platform, "clSetKernelArgMemPointerINTEL", set_pointer_);
    load_extension(info_.platform, "clEnqueueMemcpyINTEL", memcpy_);
    info_.usm = device_alloc_ && device_free_ && set_pointer_ && memcpy_;
    if (!info_.usm && !info_.svm) return unsupported(info_.name + ": the driver names unified shared memory but lacks its functions");
  }
  if (info_.command_buffers) {
    load_extension(info_.platform, "clCreateCommandBufferKHR", command_buffer_.create);
    load_extension(info_.platform, "clCommandNDRangeKernelKHR", command_buffer_.launch);
    load_extension(info_.platform, "clFinalizeCommandBufferKHR", command_buffer_.finalize);
    load_extension(info_.platform, "clEnqueueCommandBufferKHR", command_buffer_.enqueue);
    load_extension(info_.platform, "clReleaseCommandBufferKHR", command_buffer_.release);
    info_.command_buffers = command_buffer_.create && command_buffer_.launch && command_buffer_.finalize && command_buffer_.enqueue && command_buffer_.release;
  }
  unused_ = alloc(256);
  if (!unused_) return no_capacity(info_.name + ": no memory");
  tuning_ = Tuning::load(info_);
  return {};
}

void OpenClDevice::check_lanes() {
  while (info_.lanes != LaneMode::kEmulated) {
    const Status s = probe_lanes(*this);
    if (s.ok()) return;
    const std::string what = info_.matrix ? "matrix instructions" : "sub-groups";
    info_.doubt += fmt::format("{}{} are not used: {}", info_.doubt.empty() ? "" : "; ", what, s.error().text);
    log::warn("{}: {} are not used, since they failed a test: {}", info_.name, what, s.error().text);
    if (!info_.matrix) info_.lanes = LaneMode::kEmulated;
    info_.matrix = false;
    forget_kernels();
  }
}

void OpenClDevice::forget_kernels() {
  for (auto& [key, k] : kernels_)
    if (k.handle) clReleaseKernel(k.handle);
  for (auto& [key, p] : programs_)
    if (p) clReleaseProgram(p);
  kernels_.clear(), programs_.clear();
}

OpenClDevice::~OpenClDevice() {
  if (queue_) clFinish(queue_);
  forget_kernels();
  if (unused_) free(unused_, 256);
  if (scratch_) free(scratch_, scratch_bytes_);
  for (auto& [p, bytes] : old_scratch_) free(p, bytes);
  if (counters_) free(counters_, n_counters_ * sizeof(int));
  if (queue_) clReleaseCommandQueue(queue_);
  if (context_) clReleaseContext(context_);
}

void* OpenClDevice::alloc(size_t bytes) {
  void* p = allocate(bytes);
  if (!p) return nullptr;
  std::lock_guard lock(memory_mutex_);
  memory_.push_back(p);
  memory_version_++;
  return p;
}

void* OpenClDevice::allocate(size_t bytes) {
  cl_int e = CL_SUCCESS;
  constexpr cl_uint kAlign = 64;
  if (!info_.usm) return clSVMAlloc(context_, CL_MEM_READ_WRITE, std::max<size_t>(bytes, 1), kAlign);
  // Without the flag, devices that address 32 bits by default refuse more than 4 GiB in one piece.
  constexpr cl_mem_properties_intel kFlagsKey = 0x10001 /* CL_MEM_FLAGS_INTEL */, kUnrestricted = 1 << 23 /* CL_MEM_ALLOW_UNRESTRICTED_SIZE_INTEL */;
  const cl_mem_properties_intel properties[] = {kFlagsKey, kUnrestricted, 0};
  return device_alloc_(context_, info_.id, bytes > info_.max_alloc_bytes ? properties : nullptr, std::max<size_t>(bytes, 1), kAlign, &e);
}

void OpenClDevice::free(void* p, size_t) {
  if (!p) return;
  if (queue_) clFinish(queue_);
  {
    std::lock_guard lock(memory_mutex_);
    std::erase(memory_, p);
    memory_version_++;
  }
  if (info_.usm) device_free_(context_, p);
  else clSVMFree(context_, p);
}

void OpenClDevice::enqueue_copy(void* to, const void* from, size_t bytes, bool wait, const char* what) {
  if (!bytes) return;
  std::lock_guard lock(queue_mutex_);
  const cl_bool block = wait ? CL_TRUE : CL_FALSE;
  check(info_.usm ? memcpy_(queue_, block, to, from, bytes, 0, nullptr, nullptr) : clEnqueueSVMMemcpy(queue_, block, to, from, bytes, 0, nullptr, nullptr), what);
}
void OpenClDevice::copy_in(void* to, const void* from, size_t bytes, bool wait) { enqueue_copy(to, from, bytes, wait, "a copy to the device"); }
void OpenClDevice::copy_out(void* to, const void* from, size_t bytes, bool wait) { enqueue_copy(to, from, bytes, wait, "a copy from the device"); }
void OpenClDevice::copy(void* to, const void* from, size_t bytes) { enqueue_copy(to, from, bytes, false, "a copy within the device"); }

Status OpenClDevice::sync() {
  check(clFinish(queue_), "clFinish");
  return errors();
}

// The memory of a mapped buffer, which drivers pin: to other memory NVIDIA's takes 60 us longer, and does not let later work begin.
std::shared_ptr<std::byte[]> OpenClDevice::host_bytes(size_t bytes) {
  if (info_.usm) return Device::host_bytes(bytes);
  cl_int e = CL_SUCCESS;
  const cl_mem buffer = clCreateBuffer(context_, CL_MEM_ALLOC_HOST_PTR | CL_MEM_READ_WRITE, std::max<size_t>(bytes, 1), nullptr, &e);
  if (e != CL_SUCCESS) return nullptr;
  std::lock_guard lock(queue_mutex_);
  void* const p = clEnqueueMapBuffer(queue_, buffer, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, std::max<size_t>(bytes, 1), 0, nullptr, nullptr, &e);
  if (e != CL_SUCCESS) return clReleaseMemObject(buffer), nullptr;
  return {static_cast<std::byte*>(p), [this, buffer](std::byte* mapped) {
            std::lock_guard lock(queue_mutex_);
            clEnqueueUnmapMemObject(queue_, buffer, mapped, 0, nullptr, nullptr);
            clFinish(queue_);
            clReleaseMemObject(buffer);
          }};
}

std::unique_ptr<Fence> OpenClDevice::fence() {
  class EventFence final : public Fence {
   public:
    EventFence(cl_event e, const std::string& device) : event_(e), device_(device) {}
    ~EventFence() override { clReleaseEvent(event_); }
    Status wait() override {
      const cl_int e = clWaitForEvents(1, &event_);
      return e == CL_SUCCESS ? Status{} : internal_error(fmt::format("{}: waiting for a step fails with OpenCL error {}", device_, e));
    }

   private:
    const cl_event event_;
    const std::string device_;
  };
  cl_event event = nullptr;
  std::lock_guard lock(queue_mutex_);
  check(clEnqueueMarkerWithWaitList(queue_, 0, nullptr, &event), "marking the end of a step");
  check(clFlush(queue_), "clFlush");
  return event ? std::make_unique<EventFence>(event, info_.name) : nullptr;
}

void OpenClDevice::check(cl_int e, const char* what) {
  if (e == CL_SUCCESS || !error_.text.empty()) return;
  const bool memory = e == CL_MEM_OBJECT_ALLOCATION_FAILURE || e == CL_OUT_OF_RESOURCES || e == CL_OUT_OF_HOST_MEMORY;
  const std::string text = fmt::format("{}: {} fails with OpenCL error {}", info_.name, what, e);
  error_ = memory ? no_capacity(text) : internal_error(text);
}

cl_program OpenClDevice::program(const std::string& file, const std::string& options) {
  const auto it = programs_.find(file + " " + options);
  if (it != programs_.end()) return it->second;
  const Result<std::string> source = cl_source(file);
  CHECK(source.ok(), file);
  Result<cl_program> p = program_from(file, *source, options);
  if (p.ok()) return *p;
  if (error_.text.empty()) error_ = p.error();
  return programs_[file + " " + options] = nullptr;
}

Result<cl_program> OpenClDevice::program_from(const std::string& name, const std::string& source, const std::string& options) {
  std::string all = fmt::format("-cl-std=CL1.2 -DSG={} -DX_HW={} -DX_DPAS={} {}", info_.sub_group, int(info_.lanes), int(info_.matrix || info_.lanes != LaneMode::kIntel), options);
  if (info_.intel) all += " -cl-intel-greater-than-4GB-buffer-required";
  const std::string key = name + " " + options;
  if (const auto it = programs_.find(key); it != programs_.end() && it->second) return it->second;
  TRY(cl_program p, build_program(context_, info_, name, source, all));
  return programs_[key] = p;
}

cl_kernel OpenClDevice::new_kernel(cl_program p, const char* entry) {
  if (!p) return nullptr;
  cl_int e = CL_SUCCESS;
  cl_kernel k = clCreateKernel(p, entry, &e);
  check(e, entry);
  return e == CL_SUCCESS ? k : nullptr;
}

const GpuKernel* OpenClDevice::kernel(const char* file, const char* entry, const std::string& options) {
  static const GpuKernel nothing;
  if (dry_ && !dry_build_) return &nothing;
  std::string key = file;
  key += '|', key += entry, key += '|', key += options;
  auto it = kernels_.find(key);
  if (it == kernels_.end()) {
    GpuKernel k{file, entry, options, program(file, options), nullptr, is_phase_kernel(file, entry)};
    k.handle = new_kernel(k.program, entry);
    if (!k.handle) k.problem = error_.text;
    it = kernels_.emplace(std::move(key), std::move(k)).first;
  }
  if (it->second.handle) return &it->second;
  fail(internal_error(it->second.problem));  // again: no call may pass for one that ran
  return nullptr;
}

void OpenClDevice::bind_pointer(cl_kernel k, cl_uint i, const void* p) {
  if (!p) p = unused_;
  check(info_.usm ? set_pointer_(k, i, p) : clSetKernelArgSVMPointer(k, i, p), "binding an argument");
}

void OpenClDevice::bind_struct(cl_kernel k, const std::vector<std::byte>& arguments) {
  check(clSetKernelArg(k, 0, arguments.size(), arguments.data()), "binding a struct of arguments");
}

void OpenClDevice::allow_all_memory(cl_kernel k) {
  // NVIDIA's driver maps all memory of a context, and with a list an enqueue takes 18 us instead of 5.
  if (info_.lanes == LaneMode::kNvidia && !info_.usm) return;
  std::lock_guard lock(memory_mutex_);
  if (info_.usm) {
    const cl_bool yes = CL_TRUE;
    check(clSetKernelExecInfo(k, CL_KERNEL_EXEC_INFO_INDIRECT_DEVICE_ACCESS_INTEL, sizeof yes, &yes), "clSetKernelExecInfo");
  } else {
    check(clSetKernelExecInfo(k, CL_KERNEL_EXEC_INFO_SVM_PTRS, memory_.size() * sizeof(void*), memory_.data()), "clSetKernelExecInfo");
  }
}

// Where a plan is being compiled, every launch gets a kernel object of its own, which keeps its arguments.
cl_kernel OpenClDevice::to_bind(const GpuKernel& k) { return capture_ ? new_kernel(k.program, k.entry.c_str()) : k.handle; }

void OpenClDevice::launch_phase(const GpuKernel* k, const NDRange& r, const std::vector<std::byte>& arguments) {
  if (capture_) return capture_->push_back({k, r, nullptr, arguments});
  bind_struct(k->handle, arguments);
  if (const uint64_t now = memory_version_; k->memory_version != now) allow_all_memory(k->handle), k->memory_version = now;
  enqueue_bound(k->handle, r);
}

void OpenClDevice::enqueue(const GpuKernel* k, cl_kernel handle, const NDRange& r) {
  if (capture_) capture_->push_back({k, r, handle, {}});
  else enqueue_bound(handle, r);
}

void OpenClDevice::enqueue_bound(cl_kernel k, const NDRange& r) {
  const size_t global[3] = {r.groups[0] * r.group_size, r.groups[1], r.groups[2]}, local[3] = {r.group_size, 1, 1};
  std::lock_guard lock(queue_mutex_);
  check(clEnqueueNDRangeKernel(queue_, k, 3, nullptr, global, local, 0, nullptr, nullptr), "a launch");
  launches_++;
}

size_t OpenClDevice::end_dry() {
  dry_ = false;
  return std::exchange(dry_scratch_bytes_, 0);
}

OpenClDevice::Recording OpenClDevice::record(const std::vector<std::pair<cl_kernel, NDRange>>& launches) {
  if (!info_.command_buffers) return nullptr;
  // A step may be enqueued again before the last one has ended.
  const cl_command_buffer_properties_khr properties[] = {CL_COMMAND_BUFFER_FLAGS_KHR, CL_COMMAND_BUFFER_SIMULTANEOUS_USE_KHR, 0};
  cl_int e = CL_SUCCESS;
  Recording r = command_buffer_.create(1, &queue_, properties, &e);
  if (e != CL_SUCCESS) return nullptr;
  cl_sync_point_khr last = 0;
  for (size_t i = 0; e == CL_SUCCESS && i < launches.size(); i++) {
    const auto& [k, range] = launches[i];
    const size_t global[3] = {range.groups[0] * range.group_size, range.groups[1], range.groups[2]}, local[3] = {range.group_size, 1, 1};
    const cl_sync_point_khr before = last;
    e = command_buffer_.launch(r, nullptr, nullptr, k, 3, nullptr, global, local, i > 0 ? 1 : 0, i > 0 ? &before : nullptr, &last, nullptr);
  }
  if (e == CL_SUCCESS) e = command_buffer_.finalize(r);
  if (e == CL_SUCCESS) return r;
  release_recording(r);
  return nullptr;
}

void OpenClDevice::enqueue_recording(Recording r) {
  std::lock_guard lock(queue_mutex_);
  check(command_buffer_.enqueue(0, nullptr, r, 0, nullptr, nullptr), "replaying launches");
  launches_++;
}

int* OpenClDevice::counters(size_t n) {
  if (dry_) return static_cast<int*>(unused_);
  if (n <= n_counters_) return counters_;
  if (counters_) old_scratch_.emplace_back(counters_, n_counters_ * sizeof(int));
  n_counters_ = std::max<size_t>(n, 1 << 16);
  const std::vector<int> zeros(n_counters_);
  counters_ = static_cast<int*>(alloc(n_counters_ * sizeof(int)));
  if (counters_) copy_in(counters_, zeros.data(), n_counters_ * sizeof(int));
  else n_counters_ = 0, check(CL_MEM_OBJECT_ALLOCATION_FAILURE, "allocating counters");
  return counters_;
}

void* OpenClDevice::scratch(size_t bytes) {
  if (dry_) {
    dry_scratch_bytes_ = std::max(dry_scratch_bytes_, bytes);
    return unused_;  // not null, and not written to
  }
  if (bytes <= scratch_bytes_) return scratch_;
  if (scratch_) old_scratch_.emplace_back(scratch_, scratch_bytes_);
  scratch_bytes_ = std::max(bytes, scratch_bytes_ / 4 * 5);
  scratch_ = alloc(scratch_bytes_);
  if (!scratch_ && scratch_bytes_ > bytes) scratch_ = alloc(scratch_bytes_ = bytes);
  if (!scratch_) scratch_bytes_ = 0, check(CL_MEM_OBJECT_ALLOCATION_FAILURE, "allocating working memory");
  return scratch_;
}

std::unique_ptr<CompiledPlan> OpenClDevice::compile(const Plan& plan) {
  std::vector<BoundLaunch> launches;
  std::vector<Buffer> memory;
  Plan rewritten;
  if (info_.phase_groups > 0) {
    rewritten = plan;
    for (const PlanRewrite r : plan_rewrites()) rewritten = r(std::move(rewritten), *this, memory);
  }
  capture_ = &launches;
  for (const Launch& l : info_.phase_groups > 0 ? rewritten : plan) l.thunk(l, *this);
  capture_ = nullptr;
  return compile_launches(*this, std::move(launches), std::move(memory));
}

}  // namespace xylem
