#include "text/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace xylem {
namespace {

// Below this many symbols, scanning all ranks for each merge beats a heap.
constexpr size_t kShort = 48;

}  // namespace

void BpeMerges::reserve(size_t rules) {
  if (rules * 2 > slots_.size()) grow(std::bit_ceil(rules * 2 + 16));
}

void BpeMerges::grow(size_t slots) {
  const std::vector<Slot> old = std::move(slots_);
  slots_.assign(slots, Slot{});
  shift_ = 64 - std::countr_zero(slots);
  for (const Slot& s : old) {
    if (s.pair != kFree) slots_[slot_of(s.pair)] = s;
  }
}

// Where the pair is or would be.
size_t BpeMerges::slot_of(uint64_t pair) const {
  const size_t mask = slots_.size() - 1;
  size_t i = (pair * 0x9E3779B97F4A7C15ull ^ (pair >> 32) * 0xC2B2AE3D27D4EB4Full) >> shift_;
  while (slots_[i].pair != pair && slots_[i].pair != kFree) i = (i + 1) & mask;
  return i;
}

void BpeMerges::insert(TokenId left, TokenId right, uint32_t rank, TokenId merged) {
  if (count_ * 2 >= slots_.size()) grow(std::max<size_t>(16, slots_.size() * 2));
  const uint64_t pair = pair_of(left, right);
  Slot& slot = slots_[slot_of(pair)];
  if (slot.pair == kFree) ++count_;
  slot = {pair, {rank, merged}};
}

BpeMerges::Rule BpeMerges::find(TokenId left, TokenId right) const {
  return slots_.empty() ? Rule{} : slots_[slot_of(pair_of(left, right))].rule;
}

void BpeMerges::apply(BpeScratch& scratch) const {
  if (scratch.symbols.size() < 2) return;
  if (scratch.symbols.size() <= kShort) {
    apply_short(scratch);
  } else {
    apply_long(scratch);
  }
}

void BpeMerges::apply_short(BpeScratch& s) const {
  std::vector<TokenId>& id = s.symbols;
  size_t n = id.size();
  s.ranks.resize(n);
  s.merged.resize(n);
  auto rate_pair = [&](size_t i) {
    const Rule rule = i + 1 < n ? find(id[i], id[i + 1]) : Rule{};
    s.ranks[i] = rule.rank;
    s.merged[i] = rule.merged;
  };
  for (size_t i = 0; i < n; ++i) rate_pair(i);
  while (n > 1) {
    const size_t best = std::min_element(s.ranks.begin(), s.ranks.begin() + n) - s.ranks.begin();
    if (s.ranks[best] == kNoRank) break;
    id[best] = s.merged[best];
    std::copy(id.begin() + best + 2, id.begin() + n, id.begin() + best + 1);
    std::copy(s.ranks.begin() + best + 2, s.ranks.begin() + n, s.ranks.begin() + best + 1);
    std::copy(s.merged.begin() + best + 2, s.merged.begin() + n, s.merged.begin() + best + 1);
    --n;
    rate_pair(best);
    if (best > 0) rate_pair(best - 1);
  }
  id.resize(n);
}

void BpeMerges::rate(std::vector<BpeScratch::Node>& nodes, int32_t at) const {
  BpeScratch::Node& node = nodes[at];
  const Rule rule = node.next >= 0 ? find(node.id, nodes[node.next].id) : Rule{};
  node.rank = rule.rank;
  node.merged = rule.merged;
}

void BpeMerges::apply_long(BpeScratch& s) const {
  const auto n = static_cast<int32_t>(s.symbols.size());
  auto& nodes = s.nodes;
  auto& heap = s.heap;  // rank << 32 | node; entries whose rank the node no longer has are stale
  nodes.resize(n);
  heap.clear();
  for (int32_t i = 0; i < n; ++i) nodes[i] = {s.symbols[i], kNoRank, -1, i - 1, i + 1 < n ? i + 1 : -1};
  auto entry = [&](int32_t i) { return static_cast<uint64_t>(nodes[i].rank) << 32 | static_cast<uint32_t>(i); };
  for (int32_t i = 0; i + 1 < n; ++i) {
    rate(nodes, i);
    if (nodes[i].rank != kNoRank) heap.push_back(entry(i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  auto update = [&](int32_t i) {
    rate(nodes, i);
    if (nodes[i].rank == kNoRank) return;
    heap.push_back(entry(i));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    const uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto at = static_cast<int32_t>(top & UINT32_MAX);
    BpeScratch::Node& node = nodes[at];
    if (node.rank != top >> 32) continue;
    BpeScratch::Node& gone = nodes[node.next];
    node.id = node.merged;
    node.next = gone.next;
    gone.rank = kNoRank;
    if (node.next >= 0) nodes[node.next].previous = at;
    update(at);
    if (node.previous >= 0) update(node.previous);
  }
  s.symbols.clear();
  for (int32_t i = 0; i >= 0; i = nodes[i].next) s.symbols.push_back(nodes[i].id);
}

}  // namespace xylem
