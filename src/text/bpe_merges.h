// The merge rules of a byte-pair encoding and their application to a sequence of symbols.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/token.h"

namespace xylem {

// One thread's working memory; reusable.
struct BpeScratch {
  struct Node {
    TokenId id;
    uint32_t rank;   // of the pair with the next symbol; kNoRank: no rule, or the node is gone
    TokenId merged;  // what that pair becomes
    int32_t previous, next;
  };
  std::vector<TokenId> symbols;
  std::vector<uint32_t> ranks;
  std::vector<TokenId> merged;
  std::vector<Node> nodes;
  std::vector<uint64_t> heap;
};

class BpeMerges {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct Rule {
    uint32_t rank = kNoRank;
    TokenId merged = -1;
  };
  void reserve(size_t rules);
  // A later rule for the same pair replaces an earlier one.
  void insert(TokenId left, TokenId right, uint32_t rank, TokenId merged);
  Rule find(TokenId left, TokenId right) const;
  // visit(left, right, merged) for every rule, in no order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Slot& s : slots_) {
      if (s.pair != kFree)
        visit(static_cast<TokenId>(s.pair >> 32), static_cast<TokenId>(s.pair & UINT32_MAX), s.rule.merged);
    }
  }

  // Replaces scratch.symbols by what is left when no rule applies: again and again the rule of lowest rank, at its
  // first place. O(n log n).
  void apply(BpeScratch& scratch) const;

 private:
  struct Slot {
    uint64_t pair = kFree;
    Rule rule;
  };
  static constexpr uint64_t kFree = UINT64_MAX;
  static uint64_t pair_of(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t pair) const;
  void grow(size_t slots);
  void apply_short(BpeScratch& scratch) const;
  void apply_long(BpeScratch& scratch) const;
  void rate(std::vector<BpeScratch::Node>& nodes, int32_t at) const;

  std::vector<Slot> slots_;  // open addressing; a power of two
  size_t count_ = 0;
  int shift_ = 0;  // 64 - log2(slots)
};

}  // namespace xylem
