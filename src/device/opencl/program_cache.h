// Compiled programs, kept between starts in ~/.cache/xylem (XDG_CACHE_HOME is heard) by source, options, device and driver.
#pragma once
#include <string>

#include "device/opencl/opencl_device.h"

namespace xylem {

// An error shows the file, the options and the driver's log. A damaged or foreign entry of the cache is built anew.
Result<cl_program> build_program(cl_context context, const OpenClInfo& device, const std::string& file, const std::string& source, const std::string& options);

}  // namespace xylem
