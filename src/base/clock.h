#pragma once
#include <chrono>

namespace xylem {
// Monotonic seconds since an arbitrary start.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
}  // namespace xylem
