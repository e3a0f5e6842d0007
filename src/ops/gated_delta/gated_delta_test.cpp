// What parity does not see: a sequence cut anywhere, states kept on the way, and results that depend on nothing but
// their row. CausalConv is held to the same.
#include "ops/gated_delta/gated_delta.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "device/cpu/cpu_device.h"
#include "ops/causal_conv/causal_conv.h"

namespace xylem {
namespace {

constexpr int kTokens = 230, kBlock = 16, kBlocks = (kTokens + kBlock - 1) / kBlock;

struct Part {
  int first, count;
};  // tokens of the one sequence

// An op with a state over one sequence, whose state after every token can be asked for. Blocks 0 and 1 hold the running
// state, the others what is kept after each kBlock tokens.
struct Sequence {
  std::vector<float> pool;
  std::vector<int32_t> state_in, table, cu, len;
  std::mt19937 rng{5};

  std::vector<float> random(int64_t n, float scale = 1) {
    std::normal_distribution<float> normal;
    std::vector<float> v(static_cast<size_t>(n));
    for (float& x : v) x = normal(rng) * scale;
    return v;
  }
  // Rows that are each `part`, all of them from the state in `from` (or none) to block `to`, row b shifted by 2 * b
  // blocks.
  StateCache rows(Part part, int copies, int from, int to, bool keep, int64_t floats) {
    const int stride = kBlocks + 2;
    if (pool.empty()) pool.assign(size_t(copies * stride * floats), NAN);
    state_in.clear(), table.assign(size_t(copies * kBlocks), -1), cu.assign(1, 0), len.clear();
    for (int b = 0; b < copies; b++) {
      state_in.push_back(from < 0 ? -1 : b * stride + from), cu.push_back(cu.back() + part.count),
          len.push_back(part.first + part.count);
      for (int i = 0; keep && i < kBlocks; i++) table[size_t(b * kBlocks + i)] = b * stride + 2 + i;
      table[size_t(b * kBlocks + (part.first + part.count - 1) / kBlock)] = b * stride + to;
    }
    StateCache s;
    s.pool = make_tensor(pool.data(), DType::kF32, {copies * stride, floats}), s.block_tokens = kBlock;
    s.state_in = make_tensor(state_in.data(), DType::kI32, {copies}),
    s.table = make_tensor(table.data(), DType::kI32, {copies, kBlocks});
    s.cu_q = make_tensor(cu.data(), DType::kI32, {copies + 1}),
    s.kv_len = make_tensor(len.data(), DType::kI32, {copies});
    return s;
  }
  std::vector<float> block(int i, int64_t floats) const {
    return {pool.begin() + i * floats, pool.begin() + (i + 1) * floats};
  }
};

std::vector<float> repeat(const std::vector<float>& all, int64_t width, Part part, int copies) {
  std::vector<float> v;
  for (int b = 0; b < copies; b++)
    v.insert(v.end(), all.begin() + part.first * width, all.begin() + (part.first + part.count) * width);
  return v;
}

struct Delta : Sequence {
  const int64_t hk, hv, K, V, gates, floats;
  std::vector<float> q, k, v, a, b, a_log, dt_bias;

  Delta(bool per_channel, int64_t key_heads, int64_t value_heads, int64_t key_dim, int64_t value_dim)
      : hk(key_heads),
        hv(value_heads),
        K(key_dim),
        V(value_dim),
        gates(per_channel ? hv * K : hv),
        floats(hv * K * V),
        q(random(kTokens * hk * K)),
        k(random(kTokens * hk * K)),
        v(random(kTokens * hv * V)),
        a(random(kTokens * gates, 3)),
        b(random(kTokens * hv)),
        a_log(random(hv)),
        dt_bias(random(gates)) {}

  std::vector<float> run(CpuDevice& d, Part p, int from, int to, bool keep = false, int copies = 1) {
    const int64_t T = int64_t(p.count) * copies;
    std::vector<float> q_ = repeat(q, hk * K, p, copies), k_ = repeat(k, hk * K, p, copies),
                       v_ = repeat(v, hv * V, p, copies), a_ = repeat(a, gates, p, copies),
                       b_ = repeat(b, hv, p, copies), y(size_t(T * hv * V), NAN);
    auto tensor = [](std::vector<float>& x, std::initializer_list<int64_t> dims) {
      return make_tensor(x.data(), DType::kF32, dims);
    };
    Stream(d).run(GatedDelta{tensor(q_, {T, hk, K}), tensor(k_, {T, hk, K}), tensor(v_, {T, hv, V}),
                             tensor(a_, {T, gates}), tensor(b_, {T, hv}), tensor(a_log, {hv}), tensor(dt_bias, {gates}),
                             rows(p, copies, from, to, keep, floats), tensor(y, {T, hv, V})});
    return y;
  }
};

struct Conv : Sequence {
  static constexpr int64_t kChannels = 300, kTaps = 4, floats = kTaps * kChannels;
  std::vector<float> x = random(kTokens * kChannels), w = random(kChannels * kTaps);

  std::vector<float> run(CpuDevice& d, Part p, int from, int to, bool keep = false, int copies = 1) {
    const int64_t T = int64_t(p.count) * copies;
    std::vector<float> x_ = repeat(x, kChannels, p, copies), y(size_t(T * kChannels), NAN);
    Stream(d).run(CausalConv{
        make_tensor(x_.data(), DType::kF32, {T, kChannels}), make_tensor(w.data(), DType::kF32, {kChannels, kTaps}),
        rows(p, copies, from, to, keep, floats), make_tensor(y.data(), DType::kF32, {T, kChannels})});
    return y;
  }
};

double nmse(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) return INFINITY;
  double wrong = 0, size = 0;
  for (size_t i = 0; i < got.size(); i++)
    wrong += std::pow(double(got[i]) - want[i], 2), size += std::pow(double(want[i]), 2);
  return wrong / size;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Calls test(device) for each instruction set of this machine.
template <class F>
void each_isa(int threads, F&& test) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa > best_isa()) continue;
    SCOPED_TRACE(isa_name(isa));
    CpuDevice d(threads, isa);
    test(d);
  }
}

template <class Op>
void cut_anywhere(Op op, CpuDevice& d) {
  const std::vector<float> whole = op.run(d, {0, kTokens}, -1, 0), state = op.block(0, op.floats);
  std::mt19937 rng(9);
  for (int round = 0; round < 6; round++) {
    std::vector<float> y;
    int from = -1, at = 0;
    while (at < kTokens) {
      const int most = round < 2 ? 1 + round : 90, n = std::min<int>(kTokens - at, 1 + int(rng() % unsigned(most)));
      const int to = from < 0 ? 0 : from ^ int(rng() % 2);  // in place, or to the other block
      const std::vector<float> part = op.run(d, {at, n}, from, to);
      y.insert(y.end(), part.begin(), part.end());
      at += n, from = to;
    }
    EXPECT_LT(nmse(y, whole), 1e-10);
    EXPECT_LT(nmse(op.block(from, op.floats), state), 1e-10);
  }
}

template <class Op>
void kept_on_the_way(Op op, CpuDevice& d) {
  op.run(d, {0, kTokens}, -1, 0, true);
  for (int n = kBlock; n < kTokens; n += kBlock) {
    op.run(d, {0, n}, -1, 1);
    EXPECT_LT(nmse(op.block(2 + n / kBlock - 1, op.floats), op.block(1, op.floats)), 1e-10) << n;
  }
}

template <class Op>
void alone_or_not(Op op, CpuDevice& one, CpuDevice& three) {
  op.run(three, {0, 50}, -1, 0, false, 3);
  const auto pool = op.pool;
  for (Part p : {Part{50, 130}, Part{50, 1}, Part{50, 5}}) {
    op.pool = pool;
    const std::vector<float> alone = op.run(one, p, 0, 1), state = op.block(1, op.floats);
    op.pool = pool;
    const std::vector<float> batch = op.run(three, p, 0, 1, false, 3);
    for (int b = 0; b < 3; b++) {
      const auto at = batch.begin() + int64_t(b) * int64_t(alone.size());
      EXPECT_TRUE(same_bits({at, at + int64_t(alone.size())}, alone)) << p.count << " tokens, row " << b;
      EXPECT_TRUE(same_bits(op.block(b * (kBlocks + 2) + 1, op.floats), state))
          << p.count << " tokens, state of row " << b;
    }
  }
}

TEST(GatedDelta, ASequenceCutAnywhereGivesTheSame) {
  each_isa(1, [](CpuDevice& d) {
    cut_anywhere(Delta(false, 1, 2, 128, 48), d);
    cut_anywhere(Delta(false, 2, 2, 20, 28), d);
    cut_anywhere(Delta(true, 2, 2, 72, 33), d);
  });
}
TEST(CausalConv, ASequenceCutAnywhereGivesTheSame) {
  each_isa(1, [](CpuDevice& d) { cut_anywhere(Conv(), d); });
}

TEST(GatedDelta, KeptStatesAreThoseOfShorterRows) {
  each_isa(1, [](CpuDevice& d) {
    kept_on_the_way(Delta(false, 1, 2, 40, 32), d);
    kept_on_the_way(Delta(true, 2, 2, 40, 32), d);
  });
}
TEST(CausalConv, KeptStatesAreThoseOfShorterRows) {
  each_isa(1, [](CpuDevice& d) { kept_on_the_way(Conv(), d); });
}

TEST(GatedDelta, BitsDoNotDependOnOtherRowsOrThreads) {
  each_isa(1, [](CpuDevice& one) {
    CpuDevice three(3, one.isa());
    alone_or_not(Delta(false, 1, 3, 64, 48), one, three);
    alone_or_not(Delta(true, 3, 3, 40, 64), one, three);
  });
}
TEST(CausalConv, BitsDoNotDependOnOtherRowsOrThreads) {
  each_isa(1, [](CpuDevice& one) {
    CpuDevice three(3, one.isa());
    alone_or_not(Conv(), one, three);
  });
}

// Without decay, with beta = 1 and orthonormal keys, a key finds exactly what was stored under it.
TEST(GatedDelta, RecallsWhatItStored) {
  each_isa(1, [](CpuDevice& d) {
    for (bool per_channel : {false, true}) {
      Delta op(per_channel, 1, 1, 64, 32);
      std::fill(op.a.begin(), op.a.end(), -200.0f), std::fill(op.b.begin(), op.b.end(), 50.0f);
      std::fill(op.k.begin(), op.k.end(), 0.0f), std::fill(op.q.begin(), op.q.end(), 0.0f);
      for (size_t t = 0; t < 64; t++) op.k[t * 64 + t] = op.q[(t + 64) * 64 + t] = 1, op.k[(t + 64) * 64 + t] = 0;
      op.run(d, {0, 64}, -1, 0);
      std::fill(op.b.begin(), op.b.end(), -200.0f);  // beta = 0: only looks
      const std::vector<float> y = op.run(d, {64, 64}, 0, 0);
      std::vector<float> want(op.v.begin(), op.v.begin() + 64 * 32);
      for (float& x : want) x /= 8;  // K^-1/2
      EXPECT_LT(nmse(y, want), 1e-10);
    }
  });
}

// Logarithms of decays that sum to -20,000 and more, beside tokens that forget nothing.
TEST(GatedDelta, TheStrongestDecaysGiveNumbers) {
  each_isa(1, [](CpuDevice& d) {
    for (bool per_channel : {false, true}) {
      Delta op(per_channel, 1, 1, 40, 32);
      for (size_t i = 0; i < op.a.size(); i++) op.a[i] = i % 3 == 0 ? 500 : i % 7 == 1 ? 20 : -90;
      op.a_log[0] = 4;
      cut_anywhere(op, d);
      for (float x : op.run(d, {0, kTokens}, -1, 0)) ASSERT_TRUE(std::isfinite(x));
    }
  });
}

}  // namespace
}  // namespace xylem
