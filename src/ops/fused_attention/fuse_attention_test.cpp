// FusedAttention takes the place of QkvStore and Attention where nobody can see it, and only there.
#include <gtest/gtest.h>

#include "device/opencl/plan_rewrite.h"
#include "ops/device_tensors.h"
#include "ops/fused_attention/fused_attention.h"

namespace xylem {
namespace {

constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 64, kBlock = 16;
constexpr int kLength[] = {40, 17};  // with the token that is stored

class FuseAttention : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<OpenClInfo> all = opencl_devices();
    std::erase_if(all, [](const OpenClInfo& d) { return !d.problem.empty() || d.lanes == LaneMode::kIntel; });
    if (all.empty()) GTEST_SKIP() << "there is no OpenCL device for it";
    all[0].phase_groups = 24;
    auto opened = OpenClDevice::open(all[0]);
    ASSERT_TRUE(opened.ok()) << opened.error().text;
    device_ = std::move(*opened);
    tensors_ = std::make_unique<DeviceTensors>(*device_);
    q_ = tensors_->place(shape({2, kHeads, kDim})), k_ = tensors_->place(shape({2, kKvHeads, kDim})), v_ = tensors_->place(shape({2, kKvHeads, kDim}));
    heads_ = tensors_->place(shape({2, kHeads, kDim})), y_ = tensors_->place(shape({2, kHeads, kDim}));
    cache_ = {{}, 0, int(kKvHeads), int(kDim), int(kBlock)};
    cache_.pool = tensors_->place(shape({6, kKvHeads * cache_.head_elements()}, DType::kBF16));
    pool_.resize(cache_.pool.bytes());
    device_->copy_out(pool_.data(), cache_.pool.data, pool_.size());
    table_ = ints({3, 0, 5, 1, 2, 4}, {2, 3}), cu_q_ = ints({0, 1, 2}, {3}), lengths_ = ints({kLength[0], kLength[1]}, {2});
    slots_ = ints({5 * int(kBlock) + (kLength[0] - 1) % int(kBlock), 2 * int(kBlock) + (kLength[1] - 1) % int(kBlock)}, {2});
  }
  Tensor ints(const std::vector<int32_t>& values, std::initializer_list<int64_t> dims) {
    Tensor t = tensors_->place(shape(dims, DType::kI32));
    device_->copy_in(t.data, values.data(), t.bytes());
    return t;
  }
  QkvStore store(bool keys) {
    QkvStore s;
    s.q = q_, s.q_norm.on = s.k_norm.on = true, s.y = heads_;
    if (keys) s.k = k_, s.v = v_, s.slots = slots_, s.cache = cache_;
    return s;
  }
  Attention attention() { return {heads_, cache_, table_, cu_q_, lengths_, y_, 0.125f}; }
  // What a plan leaves in y and the cache, which is as at the start before.
  std::vector<float> results(const Plan& plan) {
    device_->copy_in(cache_.pool.data, pool_.data(), pool_.size());
    for (const Launch& l : plan) l.thunk(l, *device_);
    std::vector<uint16_t> pool(size_t(cache_.pool.numel()));
    device_->copy_out(pool.data(), cache_.pool.data, cache_.pool.bytes());
    std::vector<float> all = tensors_->read(y_);
    for (uint16_t p : pool) all.push_back(load_f32(&p, 0, DType::kBF16));
    return all;
  }
  template <class... Calls>
  Plan plan_of(const Calls&... calls) {
    Stream stream(*device_);
    Plan plan;
    stream.begin_capture(&plan);
    (stream.run(calls), ...);
    stream.end_capture();
    return plan;
  }
  Plan rewritten(Plan plan) {
    for (const PlanRewrite r : plan_rewrites()) plan = r(std::move(plan), *device_, memory_);
    return plan;
  }
  std::unique_ptr<OpenClDevice> device_;
  std::unique_ptr<DeviceTensors> tensors_;
  std::vector<Buffer> memory_;
  Tensor q_, k_, v_, heads_, y_, table_, cu_q_, lengths_, slots_;
  KvCache cache_;
  std::vector<std::byte> pool_;  // of the cache at the start
};

TEST_F(FuseAttention, ComputesAndStoresTheSame) {
  for (bool keys : {true, false}) {
    const Plan plan = plan_of(store(keys), attention());
    const std::vector<float> want = results(plan);
    const Plan fused = rewritten(plan);
    ASSERT_EQ(fused.size(), 1u);
    const std::vector<float> got = results(fused);
    EXPECT_LT(nmse(got, want), 1e-5) << keys;
  }
}

// Keys are read while the call before ends: it must not be the one that stores them.
TEST_F(FuseAttention, NotBehindACallThatStoresItsKeys) {
  QkvStore keys = store(true);
  keys.q = {}, keys.y = {}, keys.q_norm = {};
  EXPECT_EQ(rewritten(plan_of(keys, store(false), attention())).size(), 3u);
}

// The rotated heads are nobody's but attention's only where it reads all of them next.
TEST_F(FuseAttention, NotForOtherHeads) {
  Attention other = attention();
  other.q = q_;
  EXPECT_EQ(rewritten(plan_of(store(true), other)).size(), 2u);
}

}  // namespace
}  // namespace xylem
