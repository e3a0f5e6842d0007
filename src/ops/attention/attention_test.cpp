// What attention_items.h promises beyond parity: the same bits for a query whatever the chunk, the batch and the threads.
#include "ops/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

constexpr int kTokens = 700, kHeads = 6, kKvHeads = 2, kDim = 40, kBlock = 48;
constexpr int kBlocks = (kTokens + kBlock - 1) / kBlock;

struct Fixture {
  std::vector<float> q = std::vector<float>(size_t(kTokens) * kHeads * kDim);
  std::vector<std::byte> pool;
  std::vector<int32_t> table = std::vector<int32_t>(kBlocks);
  std::vector<std::pair<int, int>> images;  // runs of positions; queries have limits if there are any
  Attention op;

  Fixture(DType type, int window) {
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    for (float& x : q) x = normal(rng);
    KvCache c{{}, 0, kKvHeads, kDim, kBlock};
    pool.resize(size_t(kBlocks * kKvHeads * c.head_elements()) * dtype_bytes(type));
    c.pool = make_tensor(pool.data(), type, {kBlocks, kKvHeads * c.head_elements()});
    for (int64_t b = 0; b < kBlocks; b++)
      for (int h = 0; h < kKvHeads; h++)
        for (int t = 0; t < kBlock; t++)
          for (int d = 0; d < kDim; d++) {
            store_f32(pool.data(), c.k_index(b, h, t, d), type, normal(rng));
            store_f32(pool.data(), c.v_index(b, h, t, d), type, normal(rng));
          }
    std::iota(table.rbegin(), table.rend(), 0);
    op.cache = c, op.scale = 1 / std::sqrt(float(kDim)), op.window = window;
  }
  // Rows of the one sequence, each {first token, count}: their outputs, one after the other.
  std::vector<float> run(CpuDevice& d, const std::vector<std::pair<int, int>>& rows) {
    const auto B = int64_t(rows.size());
    std::vector<int32_t> cu{0}, len, tables, limits;
    std::vector<float> in;
    for (auto [first, count] : rows) {
      cu.push_back(cu.back() + count), len.push_back(first + count);
      tables.insert(tables.end(), table.begin(), table.end());
      for (int p = first; p < first + count; p++) {
        const auto image = std::find_if(images.begin(), images.end(), [p](auto i) { return p >= i.first && p < i.second; });
        limits.push_back(image == images.end() ? p + 1 : image->second);
      }
      in.insert(in.end(), q.begin() + first * kHeads * kDim, q.begin() + (first + count) * kHeads * kDim);
    }
    std::vector<float> out(in.size());
    op.q = make_tensor(in.data(), DType::kF32, {cu.back(), kHeads, kDim}), op.y = make_tensor(out.data(), DType::kF32, {cu.back(), kHeads, kDim});
    op.table = make_tensor(tables.data(), DType::kI32, {B, kBlocks});
    op.cu_q = make_tensor(cu.data(), DType::kI32, {B + 1}), op.kv_len = make_tensor(len.data(), DType::kI32, {B});
    op.limits = images.empty() ? Tensor{} : make_tensor(limits.data(), DType::kI32, {cu.back()});
    Stream(d).run(op);
    return out;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; }

TEST(Attention, BitsDoNotDependOnChunksBatchOrThreads) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa > best_isa()) continue;
    CpuDevice one(1, isa), three(3, isa);
    for (DType type : {DType::kF32, DType::kBF16})
      for (int window : {0, 100}) {
        SCOPED_TRACE(std::string(isa_name(isa)) + " " + dtype_name(type) + " window " + std::to_string(window));
        Fixture f(type, window);
        const std::vector<float> whole = f.run(one, {{0, kTokens}});
        EXPECT_TRUE(same_bits(whole, f.run(three, {{0, kTokens}}))) << "threads";
        EXPECT_TRUE(same_bits(whole, f.run(one, {{0, 16}, {16, 333}, {349, 351}}))) << "chunks";
        EXPECT_TRUE(same_bits(whole, f.run(three, {{0, 255}, {255, 1}, {256, 1}, {257, 443}}))) << "chunks on threads";
        for (int t : {0, 1, 255, 256, 512, kTokens - 1}) {
          const std::vector<float> row(whole.begin() + t * kHeads * kDim, whole.begin() + (t + 1) * kHeads * kDim);
          EXPECT_TRUE(same_bits(row, f.run(one, {{t, 1}}))) << "decode of " << t;
          EXPECT_TRUE(same_bits(row, f.run(three, {{t, 1}}))) << "decode of " << t << " on threads";
        }
      }
  }
}

TEST(Attention, ImagesKeepThatPromise) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa > best_isa()) continue;
    CpuDevice one(1, isa), three(3, isa);
    for (DType type : {DType::kF32, DType::kBF16})
      for (int window : {0, 100}) {
        SCOPED_TRACE(std::string(isa_name(isa)) + " " + dtype_name(type) + " window " + std::to_string(window));
        Fixture f(type, window);
        const std::vector<float> text = f.run(one, {{0, kTokens}});
        f.images = {{40, 300}, {301, 420}, {650, kTokens}};
        const std::vector<float> whole = f.run(one, {{0, kTokens}});
        EXPECT_TRUE(same_bits(whole, f.run(three, {{0, kTokens}}))) << "threads";
        EXPECT_TRUE(same_bits(whole, f.run(three, {{0, 40}, {40, 261}, {301, 130}, {431, 200}, {631, 69}}))) << "chunks";
        for (int t : {39, 300, 420, 649}) {
          const std::vector<float> row(whole.begin() + t * kHeads * kDim, whole.begin() + (t + 1) * kHeads * kDim);
          EXPECT_TRUE(same_bits(row, f.run(three, {{t, 1}}))) << "decode of " << t;
          EXPECT_TRUE(std::equal(row.begin(), row.end(), text.begin() + t * kHeads * kDim)) << "text at " << t;
        }
      }
  }
}

}  // namespace
}  // namespace xylem
