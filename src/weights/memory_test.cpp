#include "weights/memory.h"

#include <filesystem>

#include "weights/test_checkpoint.h"

namespace xylem {
namespace {

constexpr int64_t kMiB = 1 << 20;

struct FakeRoot : testing::TempDir {
  void put(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(file(name)).parent_path());
    write(name, text);
  }
};

TEST(Memory, SystemTellsSomething) {
  EXPECT_GT(available_memory_bytes(), kMiB);
  EXPECT_LT(available_memory_bytes(), int64_t(1) << 60);
}

TEST(Memory, WithoutGroupsIsMemAvailable) {
  FakeRoot root;
  root.put("proc/meminfo", "MemTotal:  999 kB\nMemAvailable:     2048 kB\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 2 * kMiB);
}

TEST(Memory, UnreadableSystemIsNoLimit) {
  FakeRoot root;
  EXPECT_EQ(available_memory_bytes(root.path()), INT64_MAX);
}

TEST(Memory, GroupV2AndItsAncestorsLimit) {
  FakeRoot root;
  root.put("proc/meminfo", "MemAvailable: 1048576 kB\n");
  root.put("proc/self/cgroup", "0::/outer/inner\n");
  root.put("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 1024 * kMiB);
  root.put("sys/fs/cgroup/outer/memory.max", std::to_string(100 * kMiB));
  root.put("sys/fs/cgroup/outer/memory.current", std::to_string(70 * kMiB));
  root.put("sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file " + std::to_string(20 * kMiB) + "\nactive_file " + std::to_string(10 * kMiB) + "\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 60 * kMiB);
  root.put("sys/fs/cgroup/outer/memory.current", std::to_string(300 * kMiB));
  EXPECT_EQ(available_memory_bytes(root.path()), 0);
}

// In a container the named group does not exist: the mount's root is the container's own.
TEST(Memory, GroupV1InContainer) {
  FakeRoot root;
  root.put("proc/meminfo", "MemAvailable: 1048576 kB\n");
  root.put("proc/self/cgroup", "9:cpu:/docker/abc\n4:memory:/docker/abc\n");
  root.put("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(64 * kMiB));
  root.put("sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(24 * kMiB));
  root.put("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file " + std::to_string(4 * kMiB) + "\n");
  EXPECT_EQ(available_memory_bytes(root.path()), 44 * kMiB);
}

}  // namespace
}  // namespace xylem
