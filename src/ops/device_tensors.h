// For tests: tensors in the memory of an OpenCL device.
#pragma once
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "device/op_spec.h"
#include "device/opencl/opencl_device.h"

namespace xylem {

inline double nmse(const std::vector<float>& got, const std::vector<float>& want) {
  double err = 0, ref = 0;
  for (size_t i = 0; i < want.size(); i++) err += std::pow(double(got[i]) - want[i], 2), ref += std::pow(double(want[i]), 2);
  return err / ref;
}

class DeviceTensors {
 public:
  explicit DeviceTensors(OpenClDevice& d) : device_(d) {}
  Tensor place(Tensor t, bool random = true) {  // of random numbers, or of bytes that nobody should read
    HostMemory memory;
    CaseMemory host(memory);
    host.place(t);
    if (random) fill_random(t, rng_);
    else std::memset(t.data, 0x7F, t.bytes());
    Buffer& b = memory_.emplace_back(device_, t.bytes());
    device_.copy_in(b.data(), t.data, t.bytes());
    t.data = b.data();
    return t;
  }
  std::vector<float> read(const Tensor& t) {
    std::vector<float> v(size_t(t.numel()));
    device_.copy_out(v.data(), t.data, t.bytes());
    return v;
  }

 private:
  OpenClDevice& device_;
  std::mt19937 rng_{7};
  std::vector<Buffer> memory_;
};

}  // namespace xylem
