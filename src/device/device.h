// A device: memory, and ordered execution of op calls. It knows no op.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tensor/tensor.h"

namespace xylem {

enum class Dev : uint8_t { kRef, kCpu, kOpenCl };  // kRef: scalar references on host memory

struct Launch;                       // one bound op call (op.h)
using Plan = std::vector<Launch>;    // of one step, in order

// A plan in the device's own form.
class CompiledPlan {
 public:
  virtual ~CompiledPlan() = default;
  virtual void run() = 0;               // enqueues all of it
  virtual int launches() const = 0;     // that the host makes for that
};

// Everything that a device had been asked for at some time.
class Fence {
 public:
  virtual ~Fence() = default;
  virtual Status wait() = 0;  // until it is done; any thread. What went wrong meanwhile
};

class Device {
 public:
  explicit Device(Dev kind) : kind_(kind) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  Dev kind() const { return kind_; }
  virtual void* alloc(size_t bytes) = 0;  // zeroed lazily by the system where it can be; null when there is no memory
  virtual void free(void* p, size_t bytes) = 0;
  // Whether the host reads and writes this memory itself. If not, copies are the only way; they come after all op calls so far.
  virtual bool host_memory() const { return true; }
  // From the host. Without wait, the host's bytes stay as they are until the next sync() or the wait for a later fence().
  virtual void copy_in(void* to, const void* from, size_t bytes, bool /*wait*/ = true) { std::memcpy(to, from, bytes); }
  // To the host. Without wait, the bytes are there after the next sync() or the wait for a later fence().
  virtual void copy_out(void* to, const void* from, size_t bytes, bool /*wait*/ = true) { std::memcpy(to, from, bytes); }
  // Memory of the host that copies from the device reach without delay, for use while the device is there; null: there is none.
  virtual std::shared_ptr<std::byte[]> host_bytes(size_t bytes) { return std::make_shared<std::byte[]>(bytes); }
  // Within the device, after all op calls so far and before later ones. Pieces do not overlap.
  virtual void copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
  // Waits for every op call so far; says what went wrong since the last time.
  virtual Status sync() { return {}; }
  // For a host that goes on meanwhile: what went wrong so far, without waiting; and the rest. Null: all is done already.
  virtual Status errors() { return {}; }
  virtual std::unique_ptr<Fence> fence() { return nullptr; }
  // What went wrong in an op call that this device cannot know of by itself: sync() says it.
  virtual void fail(Error) {}
  // While on, op calls ask for their working memory, and with build for their kernels, but nothing runs: tensors need no memory.
  // Returns false where that means nothing. Turning it off gives the most working memory that a call asked for.
  virtual bool begin_dry(bool /*build*/) { return false; }
  virtual size_t end_dry() { return 0; }
  virtual bool reserve_scratch(size_t) { return true; }  // as working memory of op calls; false: there is none
  // The host, for ops that this device has no kernel of (device/fallback.h); null: those are errors.
  void set_fallback(std::unique_ptr<Device> host) { fallback_ = std::move(host); }
  Device* fallback() const { return fallback_.get(); }
  // The plan for repeated use, or null where calling its launches one by one is as good. Memory that its ops use must stay
  // where it is; errors come from the next sync().
  virtual std::unique_ptr<CompiledPlan> compile(const Plan&) { return nullptr; }

 private:
  const Dev kind_;
  std::unique_ptr<Device> fallback_;
};

// Owns bytes on one device.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device& d, size_t bytes) : device_(&d), data_(d.alloc(bytes)), bytes_(bytes) {}
  Buffer(Buffer&& o) noexcept { swap(o); }
  Buffer& operator=(Buffer&& o) noexcept { swap(o); return *this; }
  ~Buffer() { if (data_) device_->free(data_, bytes_); }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void swap(Buffer& o) { std::swap(device_, o.device_), std::swap(data_, o.data_), std::swap(bytes_, o.bytes_); }
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace xylem
