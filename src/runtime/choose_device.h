// --device: cpu, xpu, opencl:N or auto.
#pragma once
#include <memory>
#include <string>

#include "base/result.h"
#include "device/cpu/cpu_device.h"

namespace xylem {

struct ChosenDevice {
  std::unique_ptr<Device> device;   // null: the CPU
  std::string name = "cpu";         // for logs and /server_info
  int64_t memory_bytes = 0;         // of the device; 0: the system's
  int64_t max_piece_bytes = 0;      // of memory; 0: no bound
  bool shared_memory = true;        // with the rest of the system
};
// auto takes a discrete Intel GPU, then an integrated one, then the CPU, and logs which and why. xpu is the first Intel GPU.
// opencl:N is any device that `xylem devices` lists.
Result<ChosenDevice> choose_device(const std::string& wanted);

}  // namespace xylem
