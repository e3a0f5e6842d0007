// What the GatedDelta kernels of all instruction sets share: sizes, one thread's memory, denormal numbers.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "ops/gated_delta/gated_delta.h"

namespace xylem {
namespace {

constexpr int64_t kChunk = 64;  // tokens that are computed at once
constexpr int64_t kSub = 16;    // tokens of a sub-block; sizes of matrices are multiples of it
// Rows of at most so many tokens go token by token: a chunk costs as much as one of kSub tokens, which is that of 7 to
// 8 steps.
constexpr int64_t kMaxSteps = 7;

// Rows lie a line further apart than they need, so that a column does not fall into few sets of a cache.
constexpr int64_t row_stride(int64_t n) { return round_up(n, kSub) + kSub; }
// Transposed keys and queries of a chunk: of every sub-block 16 columns of keys, then 16 of queries.
constexpr int64_t kPairStride = 2 * kChunk + kSub;
constexpr int64_t kChunkStride = kChunk + kSub;
constexpr int64_t pair_row(int64_t i) { return i / kSub * 2 * kSub + i % kSub; }  // of key i; its query is kSub further

// One thread's memory for one head. Strides: K-wide rows sk, V-wide rows sv.
struct DeltaWork {
  int64_t sk, sv;
  float* state;        // [K][sv]
  float* kq;           // [2 kChunk][sk] rows in the order of pair_row
  float* kq_t;         // [K][kPairStride] the same, transposed and decayed
  float* ab;           // [kChunk (j)][kPairStride (i)] what token j adds to keys and to queries of later tokens i
  float* v;            // [kChunk][sv]
  float* seen;         // [2 kChunk][sv] what keys and queries see of the state; the latter then become the outputs
  float* delta;        // [kChunk][sv]
  float* kept;         // [kChunk][sk] keys as they are added to the next state
  float* decay;        // [kChunk][sk] of each token and key dimension (per channel)
  float* later_t;      // [K][kChunkStride] keys decayed to the start of a later sub-block, transposed (per channel)
  float* block;        // [kSub][sk] keys decayed to their sub-block's end (per channel)
  float* total;        // [sk] decay of a whole chunk
  float* part;         // [sk] decay of the chunk's part before a sub-block
  float* block_total;  // [sk] of a sub-block
  float *beta, *gate, *prefix;  // [kChunk]: beta, decay of a token, decay since the chunk's start (one decay per head)
  float *q, *k, *qd, *kd;       // [sk] of one token: unit vectors, and those decayed

  static int64_t floats(int64_t K, int64_t V) {
    DeltaWork w{};
    return w.lay(K, V, nullptr);
  }
  DeltaWork(int64_t K, int64_t V, float* memory) { lay(K, V, memory); }

 private:
  DeltaWork() = default;
  int64_t lay(int64_t K, int64_t V, float* memory) {
    sk = row_stride(K), sv = row_stride(V);
    const int64_t rows = round_up(K, kSub);
    int64_t used = 0;
    auto take = [&](float*& p, int64_t n) { p = memory ? memory + used : nullptr, used += round_up(n, kSub); };
    take(state, rows * sv), take(kq, 2 * kChunk * sk), take(kq_t, rows * kPairStride), take(ab, kChunk * kPairStride);
    take(seen, 2 * kChunk * sv), take(v, kChunk * sv), take(delta, kChunk * sv), take(kept, kChunk * sk),
        take(decay, kChunk * sk);
    take(later_t, rows * kChunkStride), take(block, kSub * sk), take(total, sk), take(part, sk), take(block_total, sk);
    for (float** p : {&beta, &gate, &prefix}) take(*p, kChunk);
    for (float** p : {&q, &k, &qd, &kd}) take(*p, sk);
    return used;
  }
};

// Products of many decays end in denormal numbers, which are slow and mean nothing here: while this lives they are
// zeros.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // results and operands
  ~FlushDenormals() { _mm_setcsr(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned before_;
#else
  FlushDenormals() {}
#endif
};

// A head of a row of the step.
struct DeltaHead {
  const GatedDelta& a;
  int64_t row, head;

  int64_t K() const { return a.k.dim[2]; }
  int64_t V() const { return a.v.dim[2]; }
  int64_t key_head() const { return head / (a.v.dim[1] / a.k.dim[1]); }
  const float* q(int64_t t) const { return a.q.as() + t * a.q.stride[0] + key_head() * a.q.stride[1]; }
  const float* k(int64_t t) const { return a.k.as() + t * a.k.stride[0] + key_head() * a.k.stride[1]; }
  const float* v(int64_t t) const { return a.v.as() + t * a.v.stride[0] + head * a.v.stride[1]; }
  float* y(int64_t t) const { return a.y.as() + (t * a.v.dim[1] + head) * V(); }
  float b(int64_t t) const { return a.b.row(t)[head]; }
  float rate() const { return -std::exp(a.a_log.as()[head]); }
  int64_t gate_at() const { return a.per_channel() ? head * K() : head; }
  const float* gate(int64_t t) const { return a.a.row(t) + gate_at(); }  // one number, or K of them
  const float* gate_bias() const { return a.dt_bias.as() + gate_at(); }
  // This head's part of a state; null stays null.
  const float* part(const float* state) const { return state ? state + head * K() * V() : nullptr; }
  float* part(float* state) const { return state ? state + head * K() * V() : nullptr; }
};

}  // namespace
}  // namespace xylem
