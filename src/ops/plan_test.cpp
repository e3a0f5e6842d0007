// A compiled plan runs what its calls ran, to the bit: with launches of their own, recorded by the driver, or joined into one.
#include <gtest/gtest.h>

#include "ops/act_mul/act_mul.h"
#include "ops/add/add.h"
#include "ops/device_tensors.h"
#include "ops/matmul/matmul.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/sample/sample.h"
#include "ops/softcap/softcap.h"

namespace xylem {
namespace {

struct Form {
  const char* name;
  int phase_groups;
  bool command_buffers;
};

class OpenClPlan : public testing::TestWithParam<Form> {
 protected:
  void SetUp() override {
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
  }
  Tensor place(Tensor t, bool random) { return tensors_->place(t, random); }
  std::vector<float> read(const Tensor& t) { return tensors_->read(t); }
  std::unique_ptr<OpenClDevice> device_;
  std::unique_ptr<DeviceTensors> tensors_;
};

TEST_P(OpenClPlan, GivesTheSameBitsAsItsCalls) {
  constexpr int64_t K = 2600, N = 40;  // K is shared among work-groups, which count each other
  const bool product = !GetParam().phase_groups || device_->info().lanes != LaneMode::kEmulated;  // PoCL takes minutes to compile it as a phase
  const Tensor x = place(shape({1, K}), true), w = place(shape({K}), true), m = place(packed_shape({N, K}, DType::kBF16), true);
  const Tensor normed = place(shape({1, K}), false), gated = place(shape({1, K}), false), sum = place(shape({1, K}), false), y = place(shape({1, N}), false);
  Stream stream(*device_);
  Plan plan;
  stream.begin_capture(&plan);
  stream.run(RmsNorm{x, w, normed, 1e-6f, 0.0f});
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

TEST_P(OpenClPlan, SamplesTheSameTokensAsItsCalls) {
  if (GetParam().phase_groups && device_->info().lanes == LaneMode::kEmulated) GTEST_SKIP() << device_->info().name << " takes a minute to compile these kernels as phases";
  constexpr int64_t R = 3, V = 5000, kContext = 16;
  const Tensor raw = place(shape({R, V}), true), logits = place(shape({R, V}), false), pool = place(shape({R, kContext}, DType::kI32), false);
  const Tensor rows = place(shape({R, int64_t(sizeof(SampleRow))}, DType::kU8), false), slots = place(shape({R}, DType::kI32), false);
  const auto outputs = [&](int64_t columns, DType type) { return place(shape({R, columns}, type), false); };
  const Tensor taken = outputs(1, DType::kI32), tokens = outputs(1, DType::kI32), logprobs = outputs(1, DType::kF32);
  const Tensor top_ids = outputs(kMaxTopLogprobs, DType::kI32), top_logprobs = outputs(kMaxTopLogprobs, DType::kF32);
  SampleRow row[R];
  int32_t slot[R];
  for (int i = 0; i < R; i++) slot[i] = row[i].slot = i, row[i].prompt_tokens = row[i].position = 5, row[i].want_logprob = 1, row[i].top_logprobs = 4 * i, row[i].seed_lo = 3;
  row[0].temperature = 0, row[2].top_k = 50, row[2].top_p = 0.7f;
  device_->copy_in(rows.data, row, sizeof row), device_->copy_in(slots.data, slot, sizeof slot);
  Stream stream(*device_);
  Plan plan;
  stream.begin_capture(&plan);
  stream.run(Softcap{raw, logits, 3.0f});
  stream.run(Sample{logits, rows, {}, {}, {}, pool, tokens, logprobs, top_ids, top_logprobs, {}});
  stream.run(TakeTokens{pool, slots, slots, taken});  // positions 0 to 2
  stream.end_capture();
  const auto all = [&] {
    std::vector<float> v;
    for (const Tensor& t : {tokens, logprobs, top_ids, top_logprobs, pool, taken})
      for (const float x : read(t)) v.push_back(x);
    return v;
  };
  const std::vector<float> want = all();
  ASSERT_TRUE(device_->sync().ok());
  const std::unique_ptr<CompiledPlan> compiled = device_->compile(plan);
  ASSERT_TRUE(compiled);
  EXPECT_EQ(compiled->launches(), GetParam().phase_groups || GetParam().command_buffers ? 1 : 6);
  for (int again = 0; again < 3; again++) {
    const std::vector<std::byte> poison(logits.bytes(), std::byte{0x7F});
    device_->copy_in(logits.data, poison.data(), logits.bytes());
    for (const Tensor& t : {tokens, logprobs, top_ids, top_logprobs, taken}) device_->copy_in(t.data, poison.data(), t.bytes());
    compiled->run();
    const std::vector<float> got = all();
    EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof got[0]), 0) << again;  // numbers may be NaN as floats
  }
  const Status s = device_->sync();
  EXPECT_TRUE(s.ok()) << s.error().text;
}

INSTANTIATE_TEST_SUITE_P(Forms, OpenClPlan, testing::Values(Form{"launches", 0, false}, Form{"recorded", 0, true}, Form{"joined", 1, false}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace xylem
