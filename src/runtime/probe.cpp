#include "runtime/probe.h"

#include "ops/add/add.h"

namespace xylem {

DeviceProbe::DeviceProbe(Device& device) : device_(device), memory_(device, kCount * sizeof(float)) {}

Status DeviceProbe::run() {
  if (!memory_) return no_capacity("the device had no memory at start");
  (void)device_.sync();
  float numbers[kCount];
  for (int i = 0; i < kCount; i++) numbers[i] = float(i);
  device_.copy_in(memory_.data(), numbers, sizeof numbers);
  const Tensor x = make_tensor(memory_.data(), DType::kF32, {1, kCount});
  Stream(device_).run(Add{x, x, x});
  device_.copy_out(numbers, memory_.data(), sizeof numbers);
  TRY_VOID(device_.sync());
  for (int i = 0; i < kCount; i++)
    if (numbers[i] != float(2 * i)) return internal_error("the device computes wrong sums");
  return {};
}

}  // namespace xylem
