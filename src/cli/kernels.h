#pragma once
#include <string>

namespace xylem {

// Every registered kernel, one line "op device name priority" each, sorted: the same on every machine.
std::string kernel_dump();

}  // namespace xylem
