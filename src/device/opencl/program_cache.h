// Compiled programs, kept between starts in ~/.cache/xylem (XDG_CACHE_HOME is heard) by source, options, device and driver.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "device/opencl/opencl_device.h"

namespace xylem {

// An error shows the file, the options and the driver's log. A damaged or foreign entry of the cache is built anew.
Result<cl_program> build_program(cl_context context, const OpenClInfo& device, const std::string& file, const std::string& source, const std::string& options);

// Where such files are kept; empty when neither XDG_CACHE_HOME nor HOME is set.
std::filesystem::path cache_folder();
// Whole or not at all, also when two programs write at once. False when it cannot be written.
bool write_whole_file(const std::filesystem::path& path, std::string_view bytes);
inline uint64_t fnv1a(std::string_view s, uint64_t h = 0xcbf29ce484222325ull) {
  for (const char c : s) h = (h ^ uint8_t(c)) * 0x100000001b3ull;
  return h;
}

}  // namespace xylem
