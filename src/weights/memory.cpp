#include "weights/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <vector>

namespace xylem {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

std::optional<int64_t> read_number(const std::string& path) {
  std::ifstream in(path);
  int64_t v = 0;
  if (in >> v && v >= 0) return v;
  return {};  // absent, or "max"
}

// The number after `key` in a file of "key value" lines.
std::optional<int64_t> read_field(const std::string& path, const std::string& key) {
  std::ifstream in(path);
  std::string line, name;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    int64_t v = 0;
    if (words >> name && name == key && words >> v) return v;
  }
  return {};
}

// What one control group still allows; file names differ between the two versions.
int64_t group_room(const std::string& dir, const char* limit_file, const char* usage_file, const char* prefix) {
  const auto limit = read_number(dir + "/" + limit_file);
  if (!limit) return kUnknown;
  const int64_t usage = read_number(dir + "/" + usage_file).value_or(0);
  int64_t cached = 0;
  for (const char* key : {"inactive_file", "active_file"})
    cached += read_field(dir + "/memory.stat", std::string(prefix) + key).value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, usage - cached));
}

// A group's limit holds for all groups below it, so every ancestor counts. Inside a container the path that the kernel
// names may not exist; then only the root, which is the container's own group, does.
int64_t tightest_group(const std::string& mount, std::string path, const char* limit_file, const char* usage_file,
                       const char* prefix) {
  int64_t room = kUnknown;
  while (true) {
    room = std::min(room, group_room(mount + path, limit_file, usage_file, prefix));
    if (path.empty() || path == "/") return room;
    path.resize(std::min(path.rfind('/'), path.size()));
  }
}

}  // namespace

int64_t available_memory_bytes(const std::string& root) {
  int64_t available = kUnknown;
  if (const auto kib = read_field(root + "/proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t a = line.find(':'), b = line.find(':', a + 1);
    if (a == std::string::npos || b == std::string::npos) continue;
    const std::string controllers = line.substr(a + 1, b - a - 1), path = line.substr(b + 1);
    const std::string base = root + "/sys/fs/cgroup";
    if (controllers.empty())
      available = std::min(available, tightest_group(base, path, "memory.max", "memory.current", ""));
    else if (controllers == "memory")
      available = std::min(available, tightest_group(base + "/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"));
  }
  return available;
}

}  // namespace xylem
