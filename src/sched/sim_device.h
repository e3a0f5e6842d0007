// For tests: a model whose every output depends on every value it reads through the block tables, and the same model
// without a cache as the oracle. A wrong, stale or missing block changes the tokens.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "sched/scheduler.h"

namespace xylem::sim {

inline uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
  return h * 0xff51afd7ed558ccdull ^ (h >> 31);
}

// One position: what earlier positions left in the cache (all of them, a window of them, or a running state), the token
// and the media that it is part of give its logits and what it leaves itself. A position of a whole span also depends
// on every token of the span, and reads what those before it left even outside of windows.
struct FakeModel {
  std::vector<CacheGroup> groups;
  int vocab = 50;

  // Of a position in a row [begin, end): what the model knows of tokens [begin, end) alone.
  // read(group, position): what an earlier position left.
  template <class Read>
  uint64_t logits(const std::vector<TokenId>& tokens, const std::vector<MediaSpan>& media, int begin, int end,
                  int position, Read read) const {
    uint64_t h = mix(mix(1, uint64_t(position)), uint64_t(tokens.at(size_t(position))));
    int seen_from = position;
    for (const MediaSpan& s : media) {
      if (position < s.first || position >= s.first + s.count) continue;
      h = mix(mix(h, s.content), uint64_t(position - s.first));
      if (!s.whole) continue;
      seen_from = s.first;
      for (int p = std::max(s.first, begin); p < std::min(s.first + s.count, end); p++)
        h = mix(mix(h, uint64_t(p)), uint64_t(tokens.at(size_t(p))));
    }
    for (size_t g = 0; g < groups.size(); g++) {
      const int window = groups[g].window_tokens;
      int from = 0;
      if (window > 0) from = std::min(seen_from, std::max(0, position - window + 1));
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
    for (int begin = int(out.logits.size()), p = begin; p < int(tokens.size()); p++)
      out.logits.push_back(model.logits(tokens, r.media, begin, int(tokens.size()), p, read));
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
    const std::vector<RowStates> states = states_of(scheduler, plan);
    for (size_t b = 0; b < plan.rows.size(); b++) {
      const Row& row = plan.rows[b];
      const Request& r = scheduler.request(row.id);
      std::vector<TokenId>& tokens = tokens_[row.id];
      for (size_t i = tokens.size(); i < r.tokens.size(); i++) tokens.push_back(r.tokens[i]);
      const bool bad = fails(row);
      const int end = row.begin + row.count;
      std::vector<uint64_t> state = states[b].before;
      uint64_t logits = 0;
      for (int p = row.begin; p < end; p++) {
        logits = model_.logits(tokens, r.media, row.begin, end, p,
                               [&](int g, int q) { return is_state(g) ? state[size_t(g)] : cell(r, g, q); });
        for (int g = 0; g < int(model_.groups.size()); g++) {
          const uint64_t leaves = bad ? mix(logits, 666) : model_.leaves(g, logits);
          if (!is_state(g)) {
            cell(r, g, p) = leaves;
            continue;
          }
          state[size_t(g)] = leaves;
          const BlockId block = states[b].table[size_t(g)][size_t(p / block_tokens_)];
          if (block != kHole && (p + 1 == end || (p + 1) % block_tokens_ == 0))
            memory_[size_t(g)][size_t(block)] = leaves;
        }
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
  // What a step gets of its rows' states, as in Batch::Group: per group.
  struct RowStates {
    std::vector<uint64_t> before;             // read from state_in
    std::vector<std::vector<BlockId>> table;  // where states are written, else holes
  };
  // All rows read before any writes, as if they ran at once: what one of them writes, nobody else may use.
  std::vector<RowStates> states_of(const Scheduler& scheduler, const StepPlan& plan) const {
    std::vector<RowStates> states(plan.rows.size());
    std::map<std::pair<size_t, BlockId>, RequestId> writers, readers;
    for (size_t g = 0; g < model_.groups.size(); g++)
      for (size_t b = 0; b < plan.rows.size(); b++) {
        const Row& row = plan.rows[b];
        const int begin = row.begin, end = row.begin + row.count;
        std::vector<BlockId>& table = states[b].table.emplace_back();
        states[b].before.push_back(0);
        if (!is_state(int(g))) continue;
        const BlockTable& ids = scheduler.request(row.id).tables[g];
        const BlockId in = ids.state_in(begin, end, block_tokens_);
        CHECK((in == kHole) == (begin == 0), row.id, begin, in);
        if (in != kHole) states[b].before[g] = memory_[g][size_t(in)], readers[{g, in}] = row.id;
        const int first = begin / block_tokens_, last = (end - 1) / block_tokens_;
        CHECK(ids.size() == last + 1 && ids[last] != kHole, row.id, ids.size(), last);
        table.assign(size_t(first), kHole);
        for (int i = first; i <= last; i++) {
          table.push_back(ids[i]);
          if (ids[i] == kHole) continue;
          const BlockPool& pool = scheduler.pool(int(g));
          CHECK(pool.refs(ids[i]) == 1 && !pool.indexed(ids[i]), row.id, ids[i], pool.refs(ids[i]));
          CHECK(writers.emplace(std::pair(g, ids[i]), row.id).second, row.id, ids[i]);
        }
      }
    for (const auto& [block, writer] : writers)
      CHECK(!readers.contains(block) || readers[block] == writer, writer, block.second);
    return states;
  }
  bool is_state(int g) const { return model_.groups[size_t(g)].is_state(); }
  int slots_in_block(int g) const { return is_state(g) ? 1 : block_tokens_; }
  // What position p of r left in group g, which keeps one value per token.
  uint64_t& cell(const Request& r, int g, int p) {
    CHECK(p / block_tokens_ < r.tables[size_t(g)].size(), r.id, g, p);
    const BlockId b = r.tables[size_t(g)][p / block_tokens_];
    CHECK(b != kHole, r.id, g, p);
    return memory_[size_t(g)][size_t(b) * size_t(block_tokens_) + size_t(p % block_tokens_)];
  }

  FakeModel model_;
  int block_tokens_;
  std::vector<std::vector<uint64_t>> memory_;  // per group: [blocks, slots in a block]
  std::map<RequestId, std::vector<TokenId>> tokens_;
};

}  // namespace xylem::sim
