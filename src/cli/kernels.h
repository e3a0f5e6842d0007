#pragma once
#include <string>

namespace xylem {

// Every registered kernel, one line "op device name" each, sorted: the same on every machine (priorities may not be).
std::string kernel_dump();

}  // namespace xylem
