#pragma once

namespace xylem {
inline constexpr const char* kVersion = "0.1.0";
}  // namespace xylem
