// What latent_items.h promises beyond parity: within a form the same bits for a query whatever the chunk, the batch and the
// threads; the forms, and thus any mix of them, equal within rounding.
#include "ops/latent_attention/latent_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "device/cpu/cpu_device.h"

namespace xylem {
namespace {

using Form = LatentAttention::Form;
using Rows = std::vector<std::pair<int, int>>;  // of one sequence: {first token, count}

struct Dims {
  int heads, rank, nope, rope, v, block, tokens;
};
constexpr Dims kOdd{3, 72, 20, 6, 28, 48, 560}, kManyHeads{67, 24, 16, 8, 16, 16, 70}, kLong{1, 32, 16, 8, 16, 128, 1300};

struct Fixture {
  Dims n;
  std::vector<float> latents, rotary, q;
  std::vector<std::byte> pool, w_uk, w_uk_t, w_uv;
  std::vector<int32_t> table;
  LatentAttention op;

  Fixture(const Dims& dims, DType cache, DType weights) : n(dims) {
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    auto fill = [&](std::vector<float>& x, int64_t size) {
      x.resize(size_t(size));
      for (float& f : x) f = normal(rng);
    };
    fill(latents, int64_t(n.tokens) * n.rank), fill(rotary, int64_t(n.tokens) * n.rope), fill(q, int64_t(n.tokens) * n.heads * (n.nope + n.rope));
    const int blocks = (n.tokens + n.block - 1) / n.block;
    LatentCache& c = op.cache = {{}, 0, n.rank, n.rope, n.block};
    pool.assign(size_t(blocks * n.block * c.width()) * dtype_bytes(cache), std::byte(0xff));  // NaN
    c.pool = make_tensor(pool.data(), cache, {blocks, n.block * c.width()});
    table.resize(size_t(blocks));
    std::iota(table.rbegin(), table.rend(), 0);
    auto matrices = [&](std::vector<std::byte>& bytes, int64_t N, int64_t K) {
      Tensor t = packed_shape({n.heads, N, K}, weights);
      bytes.resize(t.bytes());
      t.data = bytes.data();
      return t;
    };
    op.w_uk = matrices(w_uk, n.nope, n.rank), op.w_uk_t = matrices(w_uk_t, n.rank, n.nope), op.w_uv = matrices(w_uv, n.v, n.rank);
    auto put = [&](Tensor& t, int64_t h, int64_t i, int64_t k, float x) {
      store_f32(t.as<std::byte>() + h * packed_bytes(t.dim[1], t.dim[2], weights), packed_index(i, k, t.dim[2], weights), weights, x);
    };
    for (int h = 0; h < n.heads; h++)
      for (int r = 0; r < n.rank; r++) {
        for (int i = 0; i < n.nope; i++) {
          const float x = normal(rng) / std::sqrt(float(n.rank));
          put(op.w_uk, h, i, r, x), put(op.w_uk_t, h, r, i, x);
        }
        for (int i = 0; i < n.v; i++) put(op.w_uv, h, i, r, normal(rng) / std::sqrt(float(n.rank)));
      }
    op.scale = 1 / std::sqrt(float(n.nope + n.rope));
  }

  // Stores the first `tokens` tokens; what lies beyond stays NaN.
  void store(CpuDevice& d, int tokens) {
    std::vector<int32_t> slots;
    for (int t = 0; t < tokens; t++) slots.push_back(table[size_t(t / n.block)] * n.block + t % n.block);
    LatentStore s{make_tensor(latents.data(), DType::kF32, {tokens, n.rank}), make_tensor(rotary.data(), DType::kF32, {tokens, n.rope}),
                  make_tensor(slots.data(), DType::kI32, {tokens}), op.cache};
    Stream(d).run(s);
  }
  // The rows' outputs, one after the other.
  std::vector<float> run(CpuDevice& d, Form form, const Rows& rows) {
    const auto B = int64_t(rows.size());
    std::vector<int32_t> cu{0}, len, tables;
    std::vector<float> in;
    for (auto [first, count] : rows) {
      cu.push_back(cu.back() + count), len.push_back(first + count);
      tables.insert(tables.end(), table.begin(), table.end());
      in.insert(in.end(), q.begin() + first * query(), q.begin() + (first + count) * query());
    }
    std::vector<float> out(size_t(cu.back() * output()), NAN);
    op.form = form;
    op.q = make_tensor(in.data(), DType::kF32, {cu.back(), n.heads, n.nope + n.rope}), op.y = make_tensor(out.data(), DType::kF32, {cu.back(), n.heads, n.v});
    op.table = make_tensor(tables.data(), DType::kI32, {B, int64_t(table.size())});
    op.cu_q = make_tensor(cu.data(), DType::kI32, {B + 1}), op.kv_len = make_tensor(len.data(), DType::kI32, {B});
    Stream(d).run(op);
    return out;
  }
  int query() const { return n.heads * (n.nope + n.rope); }
  int output() const { return n.heads * n.v; }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; }
double nmse(const std::vector<float>& want, const std::vector<float>& got) {
  double error = 0, size = 0;
  for (size_t i = 0; i < want.size(); i++) error += std::pow(double(want[i]) - got[i], 2), size += double(want[i]) * want[i];
  return want.size() == got.size() ? error / size : INFINITY;
}

// The machine's instruction sets, each as devices of one and of three threads.
template <class F>
void each_isa(F&& f) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa > best_isa()) continue;
    SCOPED_TRACE(isa_name(isa));
    CpuDevice one(1, isa), three(3, isa);
    f(one, three);
  }
}

TEST(LatentAttention, BitsDoNotDependOnChunksBatchOrThreads) {
  each_isa([](CpuDevice& one, CpuDevice& three) {
    for (const Dims& n : {kOdd, kManyHeads, kLong})
      for (Form form : {Form::kPlain, Form::kAbsorbed}) {
        SCOPED_TRACE(std::string(form == Form::kPlain ? "plain " : "absorbed ") + std::to_string(n.tokens) + " tokens");
        Fixture f(n, n.tokens == kLong.tokens ? DType::kF32 : DType::kBF16, DType::kBF16);
        const int T = n.tokens, a = T / 5, b = T / 2;
        f.store(one, T);
        const std::vector<float> whole = f.run(one, form, {{0, T}});
        EXPECT_TRUE(same_bits(whole, f.run(three, form, {{0, T}}))) << "threads";
        EXPECT_TRUE(same_bits(whole, f.run(one, form, {{0, a}, {a, b - a}, {b, T - b}}))) << "chunks";
        EXPECT_TRUE(same_bits(whole, f.run(three, form, {{0, b - 1}, {b - 1, 1}, {b, 1}, {b + 1, T - b - 1}}))) << "chunks on threads";
        for (int t : {0, 1, a, b, T - 1}) {
          const std::vector<float> row(whole.begin() + t * f.output(), whole.begin() + (t + 1) * f.output());
          EXPECT_TRUE(same_bits(row, f.run(one, form, {{t, 1}}))) << "decode of " << t;
          EXPECT_TRUE(same_bits(row, f.run(three, form, {{t, 1}}))) << "decode of " << t << " on threads";
        }
      }
  });
}

TEST(LatentAttention, FormsAgree) {
  each_isa([](CpuDevice& one, CpuDevice& three) {
    for (DType weights : {DType::kBF16, DType::kF16, DType::kF32})
      for (const Dims& n : {kOdd, kManyHeads}) {
        Fixture f(n, DType::kF32, weights);
        f.store(one, n.tokens);
        const Rows rows{{0, 40}, {40, 1}, {41, n.tokens - 41}};
        const std::vector<float> plain = f.run(one, Form::kPlain, rows);
        EXPECT_LT(nmse(plain, f.run(three, Form::kAbsorbed, rows)), 1e-11) << dtype_name(weights);
        EXPECT_LT(nmse(plain, f.run(three, Form::kAuto, rows)), 1e-11) << dtype_name(weights);
      }
  });
}

// A prompt in random chunks, then one token at a time, each stored just before it is attended to: slots that are not written
// yet hold NaN.
TEST(LatentAttention, AnyChunksAndDecodeEqualOneShot) {
  each_isa([](CpuDevice& one, CpuDevice& three) {
    std::mt19937 rng(11);
    for (DType cache : {DType::kBF16, DType::kF32})
      for (int round = 0; round < 2; round++) {
        Fixture f(kOdd, cache, DType::kBF16);
        const int T = kOdd.tokens, prompt = T - 10;
        std::vector<float> got;
        for (int at = 0; at < T;) {
          const int count = at >= prompt ? 1 : std::min<int>(prompt - at, 1 + int(rng() % 300));
          f.store(one, at + count);
          const std::vector<float> part = f.run(rng() % 2 ? one : three, Form::kAuto, {{at, count}});
          got.insert(got.end(), part.begin(), part.end());
          at += count;
        }
        EXPECT_LT(nmse(f.run(one, Form::kAuto, {{0, T}}), got), 1e-11);
      }
  });
}

}  // namespace
}  // namespace xylem
