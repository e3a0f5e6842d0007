// What goes wrong between the program and an OpenCL driver: drivers that lack something, kernels that do not build, caches that lie.
#include "device/opencl/opencl_device.h"

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "device/opencl/fault_injection.h"
#include "device/opencl/lane_probe.h"

extern char** environ;

namespace xylem {
namespace {

namespace fs = std::filesystem;

const RegisterClSource broken("test_broken.cl", "__kernel void broken(__global float* x) {\n  x[0] = WRONG + not_declared;\n}\n");
const RegisterClSource fine("test_fine.cl", "__kernel void fine(__global float* x, int n) {\n  for (int i = 0; i < n; i++) x[i] = x[i] * FACTOR;\n}\n");

class OpenCl : public testing::Test {
 protected:
  void SetUp() override {
    if (opencl_devices().empty()) GTEST_SKIP() << "there is no OpenCL device";
    folder_ = fs::temp_directory_path() / ("xylem_opencl_" + std::to_string(getpid()));
    if (const char* home = std::getenv("XDG_CACHE_HOME")) cache_before_ = home;
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
    const long before = opencl_faults().compiled;
    open();
    compiled_by_opening_ = opencl_faults().compiled - before;
    ASSERT_LE(compiled_by_opening_, 1);  // the probe of lanes
    ASSERT_EQ(entries().size(), size_t(compiled_by_opening_));
    for (const fs::path& p : entries()) kept_by_opening_.insert(p);
  }
  void TearDown() override {
    if (cache_before_.empty()) unsetenv("XDG_CACHE_HOME");
    else setenv("XDG_CACHE_HOME", cache_before_.c_str(), 1);
    fs::remove_all(folder_);
    opencl_faults().no_driver = opencl_faults().no_svm = false;
  }
  static std::unique_ptr<OpenClDevice> open() {
    auto d = OpenClDevice::open(opencl_devices().front());
    EXPECT_TRUE(d.ok()) << d.error().text;
    return d.ok() ? std::move(*d) : nullptr;
  }
  // Opens a device and runs test_fine.cl on it; the number of programs that were compiled for that.
  static long compiled_for(const char* factor = "3.0f") {
    const long before = opencl_faults().compiled;
    const auto d = open();
    float x[4] = {1, 2, 3, 4};
    Buffer memory(*d, sizeof x);
    d->copy_in(memory.data(), x, sizeof x);
    d->launch(d->kernel("test_fine.cl", "fine", std::string("-DFACTOR=") + factor), {{1, 1, 1}, 1}, memory.data(), 4);
    d->copy_out(x, memory.data(), sizeof x);
    const Status s = d->sync();
    EXPECT_TRUE(s.ok()) << s.error().text;
    EXPECT_EQ(x[3], 4 * std::strtof(factor, nullptr));
    return opencl_faults().compiled - before;
  }
  // Of the cache, but for what opening a device keeps there.
  std::vector<fs::path> entries() const {
    std::vector<fs::path> list;
    if (fs::exists(folder_ / "xylem"))
      for (const auto& e : fs::directory_iterator(folder_ / "xylem"))
        if (!kept_by_opening_.contains(e.path())) list.push_back(e.path());
    return list;
  }
  static std::string read(const fs::path& p) {
    std::ifstream in(p, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  }
  static void write(const fs::path& p, const std::string& bytes) { std::ofstream(p, std::ios::binary | std::ios::trunc) << bytes; }

  fs::path folder_;
  std::string cache_before_;
  long compiled_by_opening_ = 0;  // with an empty cache
  std::set<fs::path> kept_by_opening_;
};

TEST_F(OpenCl, NoDriverIsNoDevice) {
  opencl_faults().no_driver = true;
  EXPECT_TRUE(opencl_devices().empty());
}

TEST_F(OpenCl, ADriverWithoutSharedMemoryIsRefused) {
  opencl_faults().no_svm = true;
  const OpenClInfo info = opencl_devices().front();
  if (info.usm) GTEST_SKIP() << "this device has unified shared memory";
  EXPECT_NE(info.problem.find("shared virtual memory"), std::string::npos) << info.problem;
  const auto d = OpenClDevice::open(info);
  ASSERT_FALSE(d.ok());
  EXPECT_NE(d.error().text.find(info.name), std::string::npos) << d.error().text;
  EXPECT_NE(d.error().text.find(info.problem), std::string::npos) << d.error().text;
}

TEST_F(OpenCl, AKernelThatDoesNotBuildShowsTheDriversLog) {
  const auto d = open();
  for (int round = 0; round < 2; round++) {  // a second call must not pass for one that ran
    EXPECT_EQ(d->kernel("test_broken.cl", "broken", "-DWRONG=17"), nullptr);
    const Status s = d->sync();
    ASSERT_FALSE(s.ok());
    for (const char* part : {"test_broken.cl", "-DWRONG=17", "not_declared"}) EXPECT_NE(s.error().text.find(part), std::string::npos) << s.error().text;
    EXPECT_TRUE(d->sync().ok());
  }
  EXPECT_EQ(compiled_for(), 1);  // the others still do
}

TEST_F(OpenCl, ASecondStartCompilesNothing) {
  EXPECT_EQ(compiled_for(), 1);
  EXPECT_EQ(compiled_for(), 0);
  EXPECT_EQ(compiled_for("5.0f"), 1);  // other options
  EXPECT_EQ(entries().size(), 2u);
}

TEST_F(OpenCl, ADamagedCacheIsBuiltAnew) {
  EXPECT_EQ(compiled_for(), 1);
  ASSERT_EQ(entries().size(), 1u);
  const fs::path path = entries()[0];
  const std::string good = read(path);
  std::string flipped = good, early = good;
  flipped[flipped.size() - 20] ^= 1, early[5] ^= 1;
  for (const std::string& bad : {flipped, early, good.substr(0, good.size() / 2), good.substr(0, 10), std::string(), good + "more", std::string(100000, 'x')}) {
    write(path, bad);
    EXPECT_EQ(compiled_for(), 1) << bad.size();
    EXPECT_EQ(read(path), good);
    EXPECT_EQ(compiled_for(), 0) << bad.size();
  }
  // What another device, driver or source left there.
  EXPECT_EQ(compiled_for("5.0f"), 1);
  for (const fs::path& other : entries())
    if (other != path) write(path, read(other));
  EXPECT_EQ(compiled_for(), 1);
}

TEST_F(OpenCl, ACacheThatCannotBeWrittenDoesNoHarm) {
  fs::remove_all(folder_);
  write(folder_, "a file where the folder should be");
  EXPECT_EQ(compiled_for(), compiled_by_opening_ + 1);
  EXPECT_EQ(compiled_for(), compiled_by_opening_ + 1);
  setenv("XDG_CACHE_HOME", "/proc/nothing", 1);
  EXPECT_EQ(compiled_for(), compiled_by_opening_ + 1);
}

TEST_F(OpenCl, LanesAreWhatKernelsRelyOn) {
  const auto d = open();
  const Status s = probe_lanes(*d);
  EXPECT_TRUE(s.ok()) << s.error().text;
  EXPECT_TRUE(d->info().doubt.empty()) << d->info().doubt;
  OpenClInfo eight = opencl_devices().front();
  if (eight.lanes != LaneMode::kEmulated) return;
  eight.sub_group = 8;
  const auto narrow = OpenClDevice::open(eight);
  EXPECT_TRUE(probe_lanes(**narrow).ok());
}

// A compiler that builds matrix instructions and lanes that do nothing of use, and one that does not know them.
TEST_F(OpenCl, WhatADeviceDoesWrongIsNotUsed) {
  OpenClInfo info = opencl_devices().front();
  if (info.lanes != LaneMode::kEmulated) GTEST_SKIP() << "this device has lanes of its own";
  for (const LaneMode lanes : {LaneMode::kRaceCheck, LaneMode::kIntel}) {
    info.lanes = lanes, info.matrix = true;
    const auto d = OpenClDevice::open(info);
    ASSERT_TRUE(d.ok()) << d.error().text;
    EXPECT_EQ((*d)->info().lanes, LaneMode::kEmulated);
    EXPECT_FALSE((*d)->info().matrix);
    EXPECT_NE((*d)->info().doubt.find(lanes == LaneMode::kIntel ? "does not compile" : "are wrong"), std::string::npos) << (*d)->info().doubt;
    EXPECT_TRUE(probe_lanes(**d).ok());
  }
}

// Run by the next test, in processes of their own.
TEST_F(OpenCl, DISABLED_OneOfTwoProcesses) {
  setenv("XDG_CACHE_HOME", std::getenv("XYLEM_TEST_CACHE"), 1);
  for (int i = 1; i <= 4; i++) compiled_for((std::to_string(i) + ".0f").c_str());
}

TEST_F(OpenCl, TwoProcessesAtOnceShareACache) {
  setenv("XYLEM_TEST_CACHE", folder_.c_str(), 1);
  pid_t children[2] = {};
  for (pid_t& child : children) {
    const char* arguments[] = {"device_test", "--gtest_filter=OpenCl.DISABLED_OneOfTwoProcesses", "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr};
    ASSERT_EQ(posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, const_cast<char**>(arguments), environ), 0);
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(entries().size(), 4u);  // and nothing half-written
  for (int i = 1; i <= 4; i++) EXPECT_EQ(compiled_for((std::to_string(i) + ".0f").c_str()), 0);
}

// Two steps are asked for before the first one's result is waited for.
TEST_F(OpenCl, ResultsAreThereBehindAFence) {
  const auto d = open();
  float x[4] = {1, 2, 3, 4};
  Buffer memory(*d, sizeof x);
  d->copy_in(memory.data(), x, sizeof x);
  std::shared_ptr<std::byte[]> results[2];
  std::unique_ptr<Fence> fences[2];
  for (int i = 0; i < 2; i++) {
    results[i] = d->host_bytes(sizeof x);
    ASSERT_TRUE(results[i]);
    d->launch(d->kernel("test_fine.cl", "fine", "-DFACTOR=3.0f"), {{1, 1, 1}, 1}, memory.data(), 4);
    d->copy_out(results[i].get(), memory.data(), sizeof x, /*wait=*/false);
    fences[i] = d->fence();
    EXPECT_TRUE(d->errors().ok());
  }
  for (int i = 0; i < 2; i++) {
    const Status s = fences[i]->wait();
    EXPECT_TRUE(s.ok()) << s.error().text;
    EXPECT_EQ(reinterpret_cast<const float*>(results[i].get())[3], i == 0 ? 12 : 36);
  }
  opencl_faults().code = CL_MEM_OBJECT_ALLOCATION_FAILURE, opencl_faults().fail_count = 1, opencl_faults().fail_after = 0;
  d->launch(d->kernel("test_fine.cl", "fine", "-DFACTOR=3.0f"), {{1, 1, 1}, 1}, memory.data(), 4);
  EXPECT_FALSE(d->errors().ok());  // at once
  EXPECT_TRUE(d->errors().ok());
}

TEST_F(OpenCl, AFailedCallIsSaidOnceAndLaterOnesRun) {
  const auto d = open();
  Buffer memory(*d, 64);
  const auto call = [&] { d->launch(d->kernel("test_fine.cl", "fine", "-DFACTOR=3.0f"), {{1, 1, 1}, 1}, memory.data(), 4); };
  opencl_faults().code = CL_MEM_OBJECT_ALLOCATION_FAILURE, opencl_faults().fail_count = 1, opencl_faults().fail_after = 1;
  for (int i = 0; i < 3; i++) call();
  const Status s = d->sync();
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().code, Code::kNoCapacity);
  EXPECT_NE(s.error().text.find("-4"), std::string::npos) << s.error().text;
  call();
  EXPECT_TRUE(d->sync().ok());
}

}  // namespace
}  // namespace xylem
