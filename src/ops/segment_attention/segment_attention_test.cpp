// What segment_attention.cpu.cpp promises beyond parity: what a segment gets has the same bits whatever else is in the
// call.
#include "ops/segment_attention/segment_attention.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

constexpr int kHeads = 3, kDim = 40;

// Segments of these lengths of the rows that begin at first; x holds q, k and v of all rows.
std::vector<float> run(std::vector<float>& x, int first, const std::vector<int>& lengths, bool round, CpuDevice& d) {
  std::vector<int32_t> cu{0};
  for (int n : lengths) cu.push_back(cu.back() + n);
  std::vector<float> y(size_t(cu.back() * kHeads * kDim));
  Tensor q = shape({cu.back(), kHeads, kDim});
  q.stride[0] = 3 * kHeads * kDim, q.data = x.data() + int64_t(first) * q.stride[0];
  Tensor k = q, v = q;
  k.data = q.as() + kHeads * kDim, v.data = q.as() + 2 * kHeads * kDim;
  Stream(d).run(SegmentAttention{q, k, v, make_tensor(cu.data(), DType::kI32, {int64_t(cu.size())}),
                                 make_tensor(y.data(), DType::kF32, {cu.back(), kHeads, kDim}), 0.3f, round});
  return y;
}

TEST(SegmentAttention, BitsDoNotDependOnOtherSegmentsOrThreads) {
  std::vector<float> x(size_t(700 * 3 * kHeads * kDim));
  std::mt19937 rng(5);
  std::normal_distribution<float> normal;
  for (float& f : x) f = normal(rng);
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa > best_isa()) continue;
    CpuDevice one(1, isa), three(3, isa);
    for (bool round : {false, true}) {
      SCOPED_TRACE(std::string(isa_name(isa)) + (round ? " rounded" : ""));
      const std::vector<int> lengths = {1, 250, 33, 416};
      const std::vector<float> all = run(x, 0, lengths, round, one);
      std::vector<float> each;
      int first = 0;
      for (int n : lengths) {
        const std::vector<float> y = run(x, first, {n}, round, three);
        each.insert(each.end(), y.begin(), y.end());
        first += n;
      }
      ASSERT_EQ(all.size(), each.size());
      EXPECT_EQ(std::memcmp(all.data(), each.data(), all.size() * sizeof(float)), 0);
    }
  }
}

}  // namespace
}  // namespace xylem
