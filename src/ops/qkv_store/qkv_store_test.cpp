// What parity does not see: calls in place, V that is K, and calls whose tensors do not fit.
#include "ops/qkv_store/qkv_store.h"

#include <gtest/gtest.h>

#include <random>

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

constexpr int kTokens = 5, kHeads = 4, kKvHeads = 2, kDim = 24, kBlock = 16;

struct Fixture {
  std::vector<float> qkv = std::vector<float>(size_t(kTokens) * (kHeads + 2 * kKvHeads) * kDim), table = std::vector<float>(kTokens * kDim), pool, y;
  std::vector<float> weight = std::vector<float>(kDim);
  std::vector<int32_t> slots = {17, 18, 19, 4, -1};
  QkvStore op;

  Fixture() {
    std::mt19937 rng(5);
    std::normal_distribution<float> normal;
    for (auto* v : {&qkv, &table, &weight})
      for (float& x : *v) x = normal(rng);
    KvCache c{{}, 0, kKvHeads, kDim, kBlock};
    pool.assign(size_t(2 * kKvHeads * c.head_elements()), 0.5f), y.resize(size_t(kTokens) * kHeads * kDim);
    c.pool = make_tensor(pool.data(), DType::kF32, {2, kKvHeads * c.head_elements()});
    op = {heads(0, kHeads), heads(kHeads, kKvHeads), heads(kHeads + kKvHeads, kKvHeads)};
    op.q_norm = op.k_norm = {true, make_tensor(weight.data(), DType::kF32, {kDim})}, op.v_norm.on = true;
    op.table = make_tensor(table.data(), DType::kF32, {kTokens, 2, kDim / 2}), op.slots = make_tensor(slots.data(), DType::kI32, {kTokens});
    op.cache = c, op.y = make_tensor(y.data(), DType::kF32, {kTokens, kHeads, kDim});
  }
  Tensor heads(int from, int n) {
    Tensor t = make_tensor(qkv.data() + from * kDim, DType::kF32, {kTokens, n, kDim});
    t.stride[0] = (kHeads + 2 * kKvHeads) * kDim;
    return t;
  }
  void run() {
    CpuDevice d(2);
    Stream(d).run(op);
  }
};

TEST(QkvStore, QueriesInPlaceAreTheSame) {
  Fixture apart, in_place;
  in_place.op.y = in_place.op.q;
  apart.run(), in_place.run();
  EXPECT_EQ(apart.pool, in_place.pool);
  for (int64_t r = 0; r < apart.op.y.rows(); r++)
    for (int i = 0; i < kDim; i++) EXPECT_EQ(apart.op.y.row(r)[i], in_place.op.y.row(r)[i]) << r << " " << i;
}

TEST(QkvStore, ValuesMayBeTheKeys) {
  Fixture copied, shared;
  for (int64_t t = 0; t < kTokens; t++)
    for (int h = 0; h < kKvHeads; h++) std::copy_n(copied.op.k.as() + t * copied.op.k.stride[0] + h * kDim, kDim, copied.op.v.as() + t * copied.op.v.stride[0] + h * kDim);
  shared.op.v = shared.op.k;
  copied.run(), shared.run();
  EXPECT_EQ(copied.pool, shared.pool);
}

TEST(QkvStoreDeathTest, TensorsMustFit) {
  const auto refused = [](void (*change)(QkvStore&)) {
    Fixture f;
    change(f.op);
    EXPECT_DEATH(f.run(), "check failed");
  };
  refused([](QkvStore& a) { a.v.dim[1] = 1; });
  refused([](QkvStore& a) { a.k.dim[0]--; });
  refused([](QkvStore& a) { a.q.stride[2] = 2; });
  refused([](QkvStore& a) { a.y.stride[1] = kDim / 2; });  // heads would overlap
  refused([](QkvStore& a) { a.q_norm.w.dim[0] = kDim - 1; });
  refused([](QkvStore& a) { a.table = make_tensor(a.table.data, DType::kF32, {kTokens - 1, 2, kDim / 2}); });
  refused([](QkvStore& a) { a.table = make_tensor(a.table.data, DType::kF32, {kTokens, 2, kDim / 2 + 1}); });
  refused([](QkvStore& a) { a.slots.dtype = DType::kF32; });
  refused([](QkvStore& a) { a.slots = {}; });
  refused([](QkvStore& a) { a.cache.offset = 16; });       // the last head would lie behind the block
  refused([](QkvStore& a) { a.cache.block_tokens = 24; });
  refused([](QkvStore& a) { a.cache.dim = 2 * kDim; });
}

}  // namespace
}  // namespace xylem
