// Whether a device still computes.
#pragma once
#include "device/device.h"

namespace xylem {

// Takes its memory at start, so that a device without free memory passes.
class DeviceProbe {
 public:
  explicit DeviceProbe(Device& device);
  // Waits for the device and clears its old errors; then a copy there, a small sum and a copy back. An error: it is of no use any
  // more.
  Status run();

 private:
  static constexpr int kCount = 16;
  Device& device_;
  Buffer memory_;
};

}  // namespace xylem
