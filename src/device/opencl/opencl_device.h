// A GPU through OpenCL: memory that kernels address by pointers (USM where the driver has it, else SVM), one in-order queue,
// kernels compiled from the program's own sources and kept on disk. No Intel name outside this folder and the .cl files.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <CL/cl_ext.h>

#include "base/result.h"
#include "device/device.h"
#include "device/opencl/tuning.h"

namespace xylem {

// How kernels exchange data within a sub-group; the values of X_HW in shim.clh.
enum class LaneMode : int { kEmulated = 0, kIntel = 1, kNvidia = 2, kRaceCheck = 3 };

struct OpenClInfo {
  int index = 0;               // of "opencl:N"
  cl_platform_id platform = nullptr;
  cl_device_id id = nullptr;
  std::string name, vendor, driver, version, extensions;
  bool gpu = false, intel = false, integrated = false;
  size_t memory_bytes = 0, max_alloc_bytes = 0, local_bytes = 0;
  int compute_units = 0;
  bool usm = false, svm = false, command_buffers = false;
  LaneMode lanes = LaneMode::kEmulated;
  int sub_group = 16;          // width that kernels are compiled for
  int phase_groups = 0;        // work-groups that are certain to run at the same time: the size of phase programs; 0: none
  bool matrix = false;         // bf16 matrix instructions (DPAS)
  std::string problem;         // why the backend cannot use it; empty when it can
  std::string doubt;           // what it promises and an open device does not do, and is not used for
};
std::vector<OpenClInfo> opencl_devices();  // every device of every platform; none without a driver

// Types that kernels take by value.
template <class T>
struct IsKernelArgument : std::is_arithmetic<T> {};

struct NDRange {
  std::array<size_t, 3> groups{1, 1, 1};
  size_t group_size = 1;       // work-items of a group, along the first dimension
};

struct GpuKernel {
  std::string file, entry, options;
  cl_program program = nullptr;
  cl_kernel handle = nullptr;
  bool phase = false;          // takes its arguments as one struct, and may be part of a phase program (phase.clh)
  std::string problem{};       // why it could not be built
  mutable uint64_t memory_version = 0;  // of the device, when the handle was last allowed all of it
};

// Arguments as a struct of OpenCL C has them: each at a multiple of its alignment, pointers as 64-bit numbers.
class ArgumentStruct {
 public:
  template <class T>
  void add(const T& v) {
    align_ = std::max(align_, alignof(T));
    const size_t at = (bytes_.size() + alignof(T) - 1) / alignof(T) * alignof(T);
    bytes_.resize(at + sizeof v);
    std::memcpy(bytes_.data() + at, &v, sizeof v);
  }
  void finish() { bytes_.resize((bytes_.size() + align_ - 1) / align_ * align_); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  size_t align_ = 1;
};

// A launch with its arguments bound, as compile() collects them. Either a kernel of its own, or the struct for a phase kernel.
struct BoundLaunch {
  const GpuKernel* kernel = nullptr;
  NDRange range;
  cl_kernel own = nullptr;              // owned by whoever holds the launch
  std::vector<std::byte> arguments;
};

class OpenClDevice final : public Device {
 public:
  // Tests the device's lanes and matrix instructions, and does without those that are wrong; without `test`, takes info's word.
  static Result<std::unique_ptr<OpenClDevice>> open(const OpenClInfo& info, bool test = true);
  ~OpenClDevice() override;
  void* alloc(size_t bytes) override;
  void free(void* p, size_t bytes) override;
  bool host_memory() const override { return false; }
  void copy_in(void* to, const void* from, size_t bytes, bool wait = true) override;  // any thread
  void copy_out(void* to, const void* from, size_t bytes, bool wait = true) override;  // any thread; waits for everything before it
  std::shared_ptr<std::byte[]> host_bytes(size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  Status sync() override;
  Status errors() override { return error_.text.empty() ? Status{} : std::exchange(error_, {}); }
  std::unique_ptr<Fence> fence() override;
  void fail(Error e) override { if (error_.text.empty()) error_ = std::move(e); }
  bool begin_dry(bool build) override { return dry_build_ = build, dry_ = true; }
  size_t end_dry() override;
  bool reserve_scratch(size_t bytes) override { return scratch(bytes) != nullptr || bytes == 0; }
  const OpenClInfo& info() const { return info_; }
  Tuning& tuning() { return tuning_; }  // set before kernels are asked for; they only read it
  const Tuning& tuning() const { return tuning_; }

  std::unique_ptr<CompiledPlan> compile(const Plan& plan) override;  // launches with their arguments bound; see phase_program.h

  // A kernel of one of the program's .cl files; compiled when first asked for; null if that failed. options: "-DTM=4 ...".
  // One thread.
  const GpuKernel* kernel(const char* file, const char* entry, const std::string& options = "");
  // Arguments in order: tensors and pointers bind addresses in device memory (null: an unused one), all else its bytes.
  template <class... T>
  void launch(const GpuKernel* k, const NDRange& r, const T&... args) {
    if (!k || dry_ || r.groups[0] * r.groups[1] * r.groups[2] == 0) return;
    if (k->phase) {
      ArgumentStruct a;
      (a.add(argument(args)), ...);
      a.finish();
      return launch_phase(k, r, a.bytes());
    }
    const cl_kernel handle = to_bind(*k);
    cl_uint i = 0;
    (bind(handle, i++, args), ...);
    enqueue(k, handle, r);
  }
  // A kernel with its arguments, and a program from its text, as compiled plans use them.
  void enqueue_bound(cl_kernel k, const NDRange& r);
  Result<cl_program> program_from(const std::string& name, const std::string& source, const std::string& options);  // kept under its name
  cl_kernel new_kernel(cl_program p, const char* entry);       // null after an error
  void bind_struct(cl_kernel k, const std::vector<std::byte>& arguments);
  void allow_all_memory(cl_kernel k);                          // of this device: the kernel finds pointers in structs
  template <class... T>
  void bind_arguments(cl_kernel k, const T&... args) {
    cl_uint i = 0;
    (bind(k, i++, args), ...);
  }
  void sync_queue() { clFinish(queue_); }
  // The driver's own recording of launches, one after another (cl_khr_command_buffer). Null where it has none or refuses.
  using Recording = cl_command_buffer_khr;
  Recording record(const std::vector<std::pair<cl_kernel, NDRange>>& launches);
  void enqueue_recording(Recording r);
  void release_recording(Recording r) { if (r) command_buffer_.release(r); }
  void check(cl_int error, const char* what);  // remembers the first error for sync()

  // Zeros, for kernels whose work-groups count each other (count_arrival); whoever counts leaves zeros behind. Null after an error.
  int* counters(size_t n);
  // Memory of the running op, valid until the next call of scratch. Grows, never shrinks, and stays where compiled plans know it.
  void* scratch(size_t bytes);
  uint64_t launches() const { return launches_; }  // since the start

 private:
  explicit OpenClDevice(OpenClInfo info) : Device(Dev::kOpenCl), info_(std::move(info)) {}
  Status start();
  void check_lanes();          // takes back what the device does wrong
  void forget_kernels();
  void* allocate(size_t bytes);
  cl_program program(const std::string& file, const std::string& options);
  cl_kernel to_bind(const GpuKernel& k);       // its own handle, or a new one for a plan that is being compiled
  void launch_phase(const GpuKernel* k, const NDRange& r, const std::vector<std::byte>& arguments);
  const void* argument(const Tensor& t) const { return t.data ? t.data : unused_; }
  const void* argument(void* p) const { return p ? p : unused_; }
  const void* argument(float* p) const { return p ? p : unused_; }
  template <class T>
  const T& argument(const T& v) const {
    static_assert(IsKernelArgument<T>::value);
    return v;
  }
  void bind_pointer(cl_kernel k, cl_uint i, const void* p);
  void bind(cl_kernel k, cl_uint i, const Tensor& t) { bind_pointer(k, i, t.data); }
  void bind(cl_kernel k, cl_uint i, void* p) { bind_pointer(k, i, p); }
  void bind(cl_kernel k, cl_uint i, float* p) { bind_pointer(k, i, p); }
  template <class T>
  void bind(cl_kernel k, cl_uint i, const T& v) {
    static_assert(IsKernelArgument<T>::value);
    check(clSetKernelArg(k, i, sizeof v, &v), "clSetKernelArg");
  }
  void enqueue(const GpuKernel* k, cl_kernel handle, const NDRange& r);
  void enqueue_copy(void* to, const void* from, size_t bytes, bool wait, const char* what);

  OpenClInfo info_;
  Tuning tuning_;
  cl_context context_ = nullptr;
  cl_command_queue queue_ = nullptr;
  std::mutex queue_mutex_;
  Error error_;                                // the first since the last sync; empty text: none
  std::unordered_map<std::string, cl_program> programs_;
  std::unordered_map<std::string, GpuKernel> kernels_;
  int* counters_ = nullptr;
  size_t n_counters_ = 0;
  std::vector<BoundLaunch>* capture_ = nullptr;  // launches go there instead of into the queue
  bool dry_ = false, dry_build_ = false;       // launches are left out, and working memory is only measured; kernels are built
  size_t dry_scratch_bytes_ = 0;
  std::mutex memory_mutex_;
  std::vector<void*> memory_;                  // every allocation
  std::atomic<uint64_t> memory_version_{0};
  void* unused_ = nullptr;                     // what null tensors bind to
  void* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
  std::vector<std::pair<void*, size_t>> old_scratch_;  // smaller ones, which compiled plans may still use
  uint64_t launches_ = 0;
  // USM entry points
  clDeviceMemAllocINTEL_fn device_alloc_ = nullptr;
  clMemBlockingFreeINTEL_fn device_free_ = nullptr;
  clSetKernelArgMemPointerINTEL_fn set_pointer_ = nullptr;
  clEnqueueMemcpyINTEL_fn memcpy_ = nullptr;
  struct {
    clCreateCommandBufferKHR_fn create = nullptr;
    clCommandNDRangeKernelKHR_fn launch = nullptr;
    clFinalizeCommandBufferKHR_fn finalize = nullptr;
    clEnqueueCommandBufferKHR_fn enqueue = nullptr;
    clReleaseCommandBufferKHR_fn release = nullptr;
  } command_buffer_;
};

inline OpenClDevice& gpu(Device& d) { return static_cast<OpenClDevice&>(d); }

// Sources that were compiled into the program, by file name without folders: "matmul.cl". Includes are resolved.
struct ClSource {
  const char* name;
  const char* text;
};
std::vector<ClSource>& cl_sources();
struct RegisterClSource {
  RegisterClSource(const char* name, const char* text) { cl_sources().push_back({name, text}); }
};
Result<std::string> cl_source(const std::string& name, const std::set<std::string>& left_out = {});  // left_out: includes to skip

}  // namespace xylem
