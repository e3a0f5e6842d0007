// A compiled plan runs what its calls ran, to the bit: with launches of their own, recorded by the driver, or joined into one.
#include <gtest/gtest.h>

#include "ops/act_mul/act_mul.h"
#include "ops/add/add.h"
#include "ops/device_tensors.h"
#include "ops/matmul/matmul.h"
#include "ops/rms_norm/rms_norm.h"

namespace xylem {
namespace {

struct Form {
  const char* name;
  int phase_groups;
  bool command_buffers;
};

class OpenClPlan : public testing::TestWithParam<Form> {
 protected:
  Tensor place(Tensor t, bool random) { return tensors_->place(t, random); }
  std::vector<float> read(const Tensor& t) { return tensors_->read(t); }
  std::unique_ptr<OpenClDevice> device_;
  std::unique_ptr<DeviceTensors> tensors_;
};

TEST_P(OpenClPlan, GivesTheSameBitsAsItsCalls) {
  std::vector<OpenClInfo> all = opencl_devices();
  std::erase_if(all, [](const OpenClInfo& d) { return !d.problem.empty(); });
  if (all.empty()) GTEST_SKIP() << "there is no OpenCL device";
  if (GetParam().command_buffers && !all[0].command_buffers) GTEST_SKIP() << all[0].name << " has no command buffers";
  all[0].phase_groups = GetParam().phase_groups;
  all[0].command_buffers = GetParam().command_buffers;
  auto opened = OpenClDevice::open(all[0]);
  ASSERT_TRUE(opened.ok()) << opened.error().text;
  device_ = std::move(*opened);
  tensors_ = std::make_unique<DeviceTensors>(*device_);

  constexpr int64_t K = 2600, N = 40;  // K is shared among work-groups, which count each other
  const bool product = !GetParam().phase_groups || all[0].lanes != LaneMode::kEmulated;  // PoCL takes minutes to compile it as a phase
  const Tensor x = place(shape({1, K}), true), w = place(shape({K}), true), m = place(packed_shape({N, K}, DType::kBF16), true);
  const Tensor normed = place(shape({1, K}), false), gated = place(shape({1, K}), false), sum = place(shape({1, K}), false), y = place(shape({1, N}), false);
  Stream stream(*device_);
  Plan plan;
  stream.begin_capture(&plan);
  stream.run(RmsNorm{x, w, {}, {}, normed, 1e-6f, 0.0f});
  stream.run(ActMul{normed, x, gated, Act::kSilu});
  stream.run(Add{gated, normed, sum, 0.5f});
  if (product) stream.run(MatMul{sum, m, {}, y, true});
  stream.end_capture();
  const Tensor& last = product ? y : sum;
  const std::vector<float> want = read(last);
  ASSERT_TRUE(device_->sync().ok());
  EXPECT_NE(want[0], want[1]);

  const std::unique_ptr<CompiledPlan> compiled = device_->compile(plan);
  ASSERT_TRUE(compiled);
  if (GetParam().phase_groups || GetParam().command_buffers) EXPECT_EQ(compiled->launches(), 1);
  else EXPECT_EQ(compiled->launches(), 4);
  for (int again = 0; again < 3; again++) {
    const std::vector<float> poison(want.size(), -1e30f);
    device_->copy_in(last.data, poison.data(), last.bytes());
    compiled->run();
    EXPECT_EQ(read(last), want) << again;
  }
  const Status s = device_->sync();
  EXPECT_TRUE(s.ok()) << s.error().text;
}

INSTANTIATE_TEST_SUITE_P(Forms, OpenClPlan, testing::Values(Form{"launches", 0, false}, Form{"recorded", 0, true}, Form{"joined", 1, false}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace xylem
