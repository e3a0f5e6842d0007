// Every kernel of every op on every case against the scalar reference, for each instruction set of this machine and for
// one and several threads. The author of a kernel writes no test: constructing an OpSpec is enough.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "device/cpu/cpu_device.h"
#include "device/op_spec.h"
#include "device/opencl/opencl_device.h"

namespace xylem {
namespace {

struct Setup { Isa isa; int threads; };

class Parity : public testing::TestWithParam<Setup> {};

TEST_P(Parity, EveryKernelEqualsItsReference) {
  const auto [isa, threads] = GetParam();
  if (isa > best_isa()) GTEST_SKIP() << "this machine has no " << isa_name(isa);
  CpuDevice device(threads, isa);
  for (const OpEntry& op : op_registry()) {
    const ParityReport r = op.parity(device, {});
    for (const std::string& f : r.failures) ADD_FAILURE() << f;
  }
}

// How work is shared among threads does not depend on the instruction set: one thread is for the best one alone.
std::vector<Setup> setups() {
  std::vector<Setup> v;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) v.push_back({isa, 3});
  v.push_back({best_isa(), 1});
  return v;
}
INSTANTIATE_TEST_SUITE_P(Cpu, Parity, testing::ValuesIn(setups()), [](const auto& info) {
  return std::string(isa_name(info.param.isa)) + "_" + std::to_string(info.param.threads) + "_threads";
});

// The same on OpenCL devices: opencl:N for each one that can be used, or XYLEM_OPENCL=N alone. XYLEM_OP names one op.
TEST(OpenClParity, EveryKernelEqualsItsReference) {
  const char *wanted = std::getenv("XYLEM_OPENCL"), *only = std::getenv("XYLEM_OP");
  int used = 0;
  for (const OpenClInfo& info : opencl_devices()) {
    if (!info.problem.empty() || (wanted && std::to_string(info.index) != wanted)) continue;
    auto device = OpenClDevice::open(info);
    ASSERT_TRUE(device.ok()) << device.error().text;
    used++;
    for (const OpEntry& op : op_registry()) {
      if (only && std::string(only) != op.name) continue;
      const ParityReport r = op.parity(**device, {});
      for (const std::string& f : r.failures) ADD_FAILURE() << info.name << ": " << f;
    }
  }
  if (!used) GTEST_SKIP() << "there is no OpenCL device";
}

// Calls of an OpenCL device that run on the host, through copies (--allow-fallback).
TEST(OpenClParity, EveryOpRunsOnTheHost) {
  const std::vector<OpenClInfo> devices = opencl_devices();
  if (devices.empty() || !devices[0].problem.empty()) GTEST_SKIP() << "there is no OpenCL device";
  auto device = OpenClDevice::open(devices[0]);
  ASSERT_TRUE(device.ok()) << device.error().text;
  (*device)->set_fallback(std::make_unique<CpuDevice>(1, best_isa()));
  ParityOptions options;
  options.wanted = [](const char* kernel, const std::string&, size_t bytes) { return kernel == std::string_view(kHostKernel) && bytes < 200000; };
  for (const OpEntry& op : op_registry()) {
    const ParityReport r = op.parity(**device, options);
    for (const std::string& f : r.failures) ADD_FAILURE() << f;
    EXPECT_GT(r.run, 0) << op.name;
  }
}

TEST(Registry, EveryOpHasAReferenceAndCases) {
  std::set<std::string> with_reference;
  for (const KernelInfo& k : kernel_list())
    if (k.dev == Dev::kRef) with_reference.insert(k.op);
  ASSERT_FALSE(op_registry().empty());
  for (const OpEntry& op : op_registry()) EXPECT_TRUE(with_reference.count(op.name)) << op.name;
  EXPECT_EQ(with_reference.size(), op_registry().size());
}

}  // namespace
}  // namespace xylem
