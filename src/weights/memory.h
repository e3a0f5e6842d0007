// How much memory this process may still take.
#pragma once
#include <cstdint>
#include <string>

namespace xylem {

// Bytes that can be allocated without swapping or hitting the limit of a control group (v1 or v2): the smaller of both.
// Page cache that the system can drop counts as available. root: where /proc and /sys are found, for tests.
// INT64_MAX when the system tells nothing.
int64_t available_memory_bytes(const std::string& root = "");

}  // namespace xylem
