// Fused plans of one row compute what their plans computed, wherever the stream and what is kept for later calls lie.
#include <gtest/gtest.h>

#include "device/opencl/plan_rewrite.h"
#include "ops/device_tensors.h"
#include "ops/fused_gemv/fused_gemv.h"
#include "ops/gate_up/gate_up.h"
#include "ops/gated_matmul/gated_matmul.h"
#include "ops/matmul/matmul.h"
#include "ops/residual_norm/residual_norm.h"
#include "ops/rms_norm/rms_norm.h"

namespace xylem {
namespace {

constexpr int64_t kHidden = 128, kFfn = 1024, kSmall = 64;

class FuseRow : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<OpenClInfo> all = opencl_devices();
    std::erase_if(all, [](const OpenClInfo& d) { return !d.problem.empty(); });
    if (all.empty()) GTEST_SKIP() << "there is no OpenCL device";
    all[0].phase_groups = 24;
    auto opened = OpenClDevice::open(all[0]);
    ASSERT_TRUE(opened.ok()) << opened.error().text;
    device_ = std::move(*opened);
    tensors_ = std::make_unique<DeviceTensors>(*device_);
  }
  Tensor place(Tensor t) { return tensors_->place(t); }
  std::vector<float> read(const Tensor& t) { return tensors_->read(t); }
  Tensor rows(int64_t m, int64_t n) { return place(shape({m, n})); }
  Tensor row(int64_t n) { return rows(1, n); }
  Tensor weights(int64_t n, int64_t k) { return place(packed_shape({n, k}, DType::kBF16)); }
  // Two layers with sandwich norms and per-layer inputs, as Gemma's, over memory that the layers share.
  Plan layers(const Tensor& x, const Tensor& h, const Tensor& last) {
    Stream stream(*device_);
    Plan plan;
    stream.begin_capture(&plan);
    const Tensor a = row(kHidden), wide = row(2 * kFfn), small = row(kSmall), scale = place(shape({1}));
    Tensor gate = wide, up = wide;
    gate.dim[1] = up.dim[1] = kFfn, up.data = up.as() + kFfn;
    const auto norm = [&](const Tensor& y, bool next, bool scaled) {
      ResidualNorm n{y, place(shape({kHidden})), {}, {}, {}, x, scaled ? scale : Tensor{}, {}, {}};
      if (next) n.y[0] = h, n.y_w[0] = place(shape({kHidden}));
      stream.run(n);
    };
    for (int layer = 0; layer < 2; layer++) {
      stream.run(MatMul{h, weights(kHidden, kHidden), {}, a, true});
      norm(a, true, false);
      stream.run(MatMul{h, weights(2 * kFfn, kHidden), {}, wide, true});
      stream.run(GatedMatMul{gate, up, Act::kGeluTanh, 0, weights(kHidden, kFfn), {}, a, true});
      norm(a, false, false);
      stream.run(MatMul{x, weights(kSmall, kHidden), {}, small, true});
      stream.run(GatedMatMul{small, row(kSmall), Act::kGeluTanh, 0, weights(kHidden, kSmall), {}, a, true});
      norm(a, layer == 0, true);
    }
    stream.run(RmsNorm{x, place(shape({kHidden})), last, 1e-6f, 0.0f});
    stream.end_capture();
    return plan;
  }
  std::unique_ptr<OpenClDevice> device_;
  std::unique_ptr<DeviceTensors> tensors_;
};

TEST_F(FuseRow, ComputesTheSameWithHalfOfTheCalls) {
  const Tensor x = row(kHidden), h = row(kHidden), last = row(kHidden);
  const std::vector<float> x0 = read(x), h0 = read(h);
  const auto reset = [&] { device_->copy_in(x.data, x0.data(), x.bytes()), device_->copy_in(h.data, h0.data(), h.bytes()); };
  const Plan plan = layers(x, h, last);
  reset();
  for (const Launch& l : plan) l.thunk(l, *device_);
  const std::vector<float> want = read(last), want_x = read(x);

  std::vector<Buffer> memory;
  Plan fused = plan;
  for (const PlanRewrite r : plan_rewrites()) fused = r(std::move(fused), *device_, memory);
  int norms = 0;
  for (const Launch& l : fused) norms += call_of<ResidualNorm>(l) != nullptr;
  EXPECT_EQ(fused.size(), plan.size() - 5);  // all of its norms between products
  EXPECT_EQ(norms, 1);
  for (int again = 0; again < 2; again++) {
    reset();
    for (const Launch& l : fused) l.thunk(l, *device_);
    EXPECT_LT(nmse(read(last), want), 1e-5) << again;
    EXPECT_LT(nmse(read(x), want_x), 1e-5) << again;
  }
  const Status s = device_->sync();
  EXPECT_TRUE(s.ok()) << s.error().text;
}

// Several rows keep their norms; act(gate) * up is stored by the product before it.
TEST_F(FuseRow, JoinsGateAndUpOfSeveralRows) {
  const Tensor x = rows(5, kHidden), wide = rows(5, 2 * kFfn), y = rows(5, kHidden);
  Tensor gate = wide, up = wide;
  gate.dim[1] = up.dim[1] = kFfn, up.data = up.as() + kFfn;
  Stream stream(*device_);
  Plan plan;
  stream.begin_capture(&plan);
  stream.run(MatMul{x, weights(2 * kFfn, kHidden), {}, wide, true});
  stream.run(GatedMatMul{gate, up, Act::kGeluTanh, 0, weights(kHidden, kFfn), {}, y, true});
  stream.end_capture();
  const std::vector<float> want = read(y);
  std::vector<Buffer> memory;
  for (const PlanRewrite r : plan_rewrites()) plan = r(std::move(plan), *device_, memory);
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_TRUE(call_of<GateUp>(plan[0]));
  device_->copy_in(y.data, std::vector<float>(want.size(), -1e30f).data(), y.bytes());
  for (const Launch& l : plan) l.thunk(l, *device_);
  EXPECT_LT(nmse(read(y), want), 1e-5);
}

// What another call sees of the stream, or of what a product made, is as it was.
TEST_F(FuseRow, LeavesBehindWhatOthersRead) {
  const Tensor x = row(kHidden), h = row(kHidden), a = row(kHidden), wide = row(512), copy = row(kHidden), again = row(kHidden);
  const std::vector<float> x0 = read(x);
  Stream stream(*device_);
  Plan plan;
  stream.begin_capture(&plan);
  stream.run(MatMul{h, weights(kHidden, kHidden), {}, a, true});
  stream.run(ResidualNorm{a, place(shape({kHidden})), {}, {}, {}, x, {}, {h}, {place(shape({kHidden}))}});
  stream.run(MatMul{h, weights(512, kHidden), {}, wide, true});
  stream.run(RmsNorm{x, place(shape({kHidden})), copy, 1e-6f, 0.0f});  // reads the stream: it must be in its place
  stream.run(RmsNorm{a, place(shape({kHidden})), again, 1e-6f, 0.0f});
  stream.end_capture();
  const std::vector<float> h0 = read(h);
  const auto results = [&](const Plan& p) {
    device_->copy_in(x.data, x0.data(), x.bytes()), device_->copy_in(h.data, h0.data(), h.bytes());
    for (const Launch& l : p) l.thunk(l, *device_);
    return std::vector<std::vector<float>>{read(x), read(h), read(a), read(wide), read(copy), read(again)};
  };
  const auto want = results(plan);
  std::vector<Buffer> memory;
  Plan fused = plan;
  for (const PlanRewrite r : plan_rewrites()) fused = r(std::move(fused), *device_, memory);
  const auto got = results(fused);
  for (size_t i = 0; i < want.size(); i++) EXPECT_LT(nmse(got[i], want[i]), 1e-5) << i;
}

}  // namespace
}  // namespace xylem
