// Counts of generated tokens, and what they change in a row of logits.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "ops/sample/sample.h"

namespace xylem {
namespace {

// Number of occurrences per id; open addressing, at most half full.
class TokenCounts {
 public:
  explicit TokenCounts(size_t tokens) : slots_(std::bit_ceil(std::max<size_t>(8, 2 * tokens))), mask_(slots_.size() - 1) {}
  void add(int32_t id) {
    size_t i = (uint32_t(id) * 2654435769u >> 7) & mask_;
    while (slots_[i].count && slots_[i].id != id) i = (i + 1) & mask_;
    slots_[i].id = id, slots_[i].count++;
  }
  template <class F>
  void each(F&& f) const {
    for (const Slot& s : slots_)
      if (s.count) f(s.id, s.count);
  }

 private:
  struct Slot { int32_t id = 0, count = 0; };
  std::vector<Slot> slots_;
  size_t mask_;
};

inline void penalise(const Sample& a, const SampleRow& p, float* l, int64_t V) {
  if (p.frequency_penalty == 0 && p.presence_penalty == 0 && p.repetition_penalty == 1) return;
  if (p.position <= p.prompt_tokens) return;
  const int32_t* history = a.token_pool.as<int32_t>() + p.slot * a.token_pool.stride[0];
  TokenCounts counts(size_t(p.position - p.prompt_tokens));
  for (int32_t i = p.prompt_tokens; i < p.position; i++)
    if (history[i] >= 0 && history[i] < V) counts.add(history[i]);
  counts.each([&](int32_t id, int32_t n) {
    const double v = double(l[id]) - double(n) * double(p.frequency_penalty) - double(p.presence_penalty);
    l[id] = float(v > 0 ? v / double(p.repetition_penalty) : v * double(p.repetition_penalty));
  });
}

inline void adjust_logits(const Sample& a, const SampleRow& p, float* l, int64_t V) {
  penalise(a, p, l, V);
  for (int32_t i = p.adjust_begin; i < p.adjust_end; i++) l[a.adjust_ids.as<int32_t>()[i]] += a.adjust_add.as()[i];
}

}  // namespace
}  // namespace xylem
