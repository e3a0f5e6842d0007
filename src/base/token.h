#pragma once
#include <cstdint>

namespace xylem {
using TokenId = int32_t;     // -1: no token
using RequestId = uint64_t;  // unique for the life of a process
}  // namespace xylem
