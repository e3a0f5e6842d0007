// From logits to tokens and log-probabilities, with the parameters of each row. Order of steps: shared/sglang.md 2.7.
#pragma once
#include "device/op.h"
namespace xylem {

inline constexpr int kMaxTopLogprobs = 20;

// Parameters of one row of logits; 80 bytes in a slab, the same on every device.
struct SampleRow {
  int32_t slot = 0;             // row of the token pool
  int32_t prompt_tokens = 0;    // tokens [prompt_tokens, position) of the slot are the generated ones: penalties count these
  int32_t position = 0;         // index of the token to come
  int32_t target = -1;          // >= 0: nothing is sampled; the log-probability of this token is wanted (prompt log-probabilities)
  float temperature = 1.0f;     // < 1e-6: greedy; log-probabilities are then of temperature 1
  float top_p = 1.0f, min_p = 0.0f;
  int32_t top_k = 0;            // <= 0: all
  float frequency_penalty = 0.0f, presence_penalty = 0.0f, repetition_penalty = 1.0f;
  int32_t adjust_begin = 0, adjust_end = 0;  // entries of adjust_*: added to the logits after the penalties (-inf bans)
  int32_t top_logprobs = 0;     // <= kMaxTopLogprobs
  int32_t chosen_begin = 0, chosen_end = 0;  // entries of chosen_*
  int32_t want_logprob = 0;
  uint32_t seed_lo = 0, seed_hi = 0;
  int32_t reserved = 0;
};
static_assert(sizeof(SampleRow) == 80);

// Uniform in [0, 1) from (seed, position) alone, so that a request's output does not depend on its neighbours.
inline double sample_uniform(uint32_t seed_lo, uint32_t seed_hi, int32_t position) {
  uint64_t z = (uint64_t(seed_hi) << 32 | seed_lo) + 0x9e3779b97f4a7c15ull * (uint64_t(uint32_t(position)) + 1);  // splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return double(z >> 11) * 0x1.0p-53;
}

// l = logits with penalties of the generated tokens (each with its count c: l -= c * frequency + presence; l > 0 ? l / r : l * r),
// then the adjustments. Greedy: argmax, ties to the lower id. Otherwise p = softmax(l / temperature) over all tokens; in
// descending order (ties to the lower id) a token stays when its rank < top_k, the sum of those before it <= top_p, and
// p >= min_p * max p; one of these is drawn by inverse CDF, in order of ids. Log-probabilities are of softmax(l / temperature).
// The token is also written to the token pool. A NaN or no finite logit: token -1, log-probability 0.
struct Sample {
  static constexpr const char* kName = "sample";
  Tensor logits;           // [R, V] f32; changed in place
  Tensor rows;             // [R, 80] u8: SampleRow
  Tensor adjust_ids;       // [A] i32
  Tensor adjust_add;       // [A] f32
  Tensor chosen_ids;       // [C] i32
  Tensor token_pool;       // [slots, tokens] i32
  Tensor tokens;           // [R] i32
  Tensor logprobs;         // [R] f32 of the token (or target)
  Tensor top_ids;          // [R, kMaxTopLogprobs] i32, best first, -1 beyond top_logprobs
  Tensor top_logprobs;     // [R, kMaxTopLogprobs] f32, 0 beyond
  Tensor chosen_logprobs;  // [C] f32
  XYLEM_FIELDS(inout(logits), in(rows), in(adjust_ids), in(adjust_add), in(chosen_ids), inout(token_pool), out(tokens), out(logprobs), out(top_ids),
               out(top_logprobs), out(chosen_logprobs))
};

// tokens[t] = token_pool[slots[t], positions[t]]: the ids a step feeds, also those sampled by the step before it.
struct TakeTokens {
  static constexpr const char* kName = "take_tokens";
  Tensor token_pool;  // [slots, tokens] i32
  Tensor slots;       // [T] i32; negative: padding, token 0
  Tensor positions;   // [T] i32
  Tensor tokens;      // [T] i32
  XYLEM_FIELDS(in(token_pool), in(slots), in(positions), out(tokens))
};

}  // namespace xylem
