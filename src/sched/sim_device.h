// For tests: a model whose every output depends on every value it reads through the block tables, and the same model
// without a cache as the oracle. A wrong, stale or missing block changes the tokens.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "base/check.h"
#include "sched/scheduler.h"

namespace xylem::sim {

inline uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
  return h * 0xff51afd7ed558ccdull ^ (h >> 31);
}

// One position: what earlier positions left in the cache (all of them, a window of them, or a running state) and the
// token give its logits and what it leaves itself.
struct FakeModel {
  std::vector<CacheGroup> groups;
  int vocab = 50;

  // read(group, position): what an earlier position left.
  template <class Read>
  uint64_t logits(int position, TokenId token, Read read) const {
    uint64_t h = mix(mix(1, uint64_t(position)), uint64_t(token));
    for (size_t g = 0; g < groups.size(); g++) {
      const int window = groups[g].window_tokens;
      int from = 0;
      if (window > 0) from = std::max(0, position - window + 1);
      if (window < 0) from = std::max(0, position - 1);
      for (int p = from; p < position; p++) h = mix(h, read(int(g), p));
    }
    return h;
  }
  // What a position leaves: for a state, the state after it, which has everything before folded in.
  uint64_t leaves(int group, uint64_t logits) const { return mix(logits, uint64_t(group) + 11); }
  TokenId argmax(uint64_t logits) const { return TokenId((logits >> 33) % uint64_t(vocab)); }
};

// A request generated alone and without a cache.
struct Oracle {
  std::vector<TokenId> tokens;   // the output
  std::vector<uint64_t> logits;  // of all positions
  Finish finish = Finish::kNone;
};

inline Oracle oracle(const FakeModel& model, const NewRequest& r, int max_context) {
  Oracle out;
  std::vector<TokenId> tokens = r.prompt;
  const auto read = [&](int g, int p) { return model.leaves(g, out.logits[size_t(p)]); };
  while (out.finish == Finish::kNone) {
    for (int p = int(out.logits.size()); p < int(tokens.size()); p++)
      out.logits.push_back(model.logits(p, tokens[size_t(p)], read));
    const TokenId token = model.argmax(out.logits.back());
    tokens.push_back(token);
    out.tokens.push_back(token);
    const int n = int(out.tokens.size());
    const bool stop = std::find(r.stop_ids.begin(), r.stop_ids.end(), token) != r.stop_ids.end();
    if (stop && n > r.min_new_tokens)
      out.finish = Finish::kStop;
    else if (n >= r.max_new_tokens || int(tokens.size()) >= max_context)
      out.finish = Finish::kLength;
  }
  return out;
}

// Runs plans against the tables of a scheduler. Like a device, it keeps the tokens it sampled itself.
class FakeDevice {
 public:
  FakeDevice(FakeModel model, int block_tokens, const std::vector<int>& pool_blocks)
      : model_(std::move(model)), block_tokens_(block_tokens) {
    for (size_t g = 0; g < model_.groups.size(); g++)
      memory_.emplace_back(size_t(pool_blocks[g]) * size_t(slots_in_block(int(g))), 0);
  }

  struct PromptLogits {
    RequestId id;
    int position;
    uint64_t logits;
  };

  // fails(row): the row's logits are not finite, and what it leaves is garbage.
  template <class Fails>
  std::vector<TokenId> run(const Scheduler& scheduler, const StepPlan& plan, std::vector<PromptLogits>& prompt_logits,
                           Fails fails) {
    std::vector<TokenId> sampled;
    for (const Row& row : plan.rows) {
      const Request& r = scheduler.request(row.id);
      std::vector<TokenId>& tokens = tokens_[row.id];
      for (size_t i = tokens.size(); i < r.tokens.size(); i++) tokens.push_back(r.tokens[i]);
      const bool bad = fails(row);
      uint64_t logits = 0;
      for (int p = row.begin; p < row.begin + row.count; p++) {
        logits = model_.logits(p, tokens.at(size_t(p)), [&](int g, int q) { return cell(r, g, q); });
        for (size_t g = 0; g < model_.groups.size(); g++)
          cell(r, int(g), p) = bad ? mix(logits, 666) : model_.leaves(int(g), logits);
        if (row.logits_from >= 0 && p >= row.logits_from && p < r.prompt_tokens && !bad)
          prompt_logits.push_back({row.id, p, logits});
      }
      if (!row.sample) continue;
      const TokenId token = bad ? -1 : model_.argmax(logits);
      tokens.push_back(std::max(token, 0));
      sampled.push_back(token);
    }
    return sampled;
  }
  void ended(RequestId id) { tokens_.erase(id); }

 private:
  int slots_in_block(int g) const { return model_.groups[size_t(g)].window_tokens < 0 ? 1 : block_tokens_; }
  // What position p of r left in group g. A state block has one cell: its latest position's.
  uint64_t& cell(const Request& r, int g, int p) {
    CHECK(p / block_tokens_ < r.tables[size_t(g)].size(), r.id, g, p);
    const BlockId b = r.tables[size_t(g)][p / block_tokens_];
    CHECK(b != kHole, r.id, g, p);
    const int slots = slots_in_block(g);
    return memory_[size_t(g)][size_t(b) * size_t(slots) + size_t(slots > 1 ? p % block_tokens_ : 0)];
  }

  FakeModel model_;
  int block_tokens_;
  std::vector<std::vector<uint64_t>> memory_;  // per group: [blocks, slots in a block]
  std::map<RequestId, std::vector<TokenId>> tokens_;
};

}  // namespace xylem::sim
