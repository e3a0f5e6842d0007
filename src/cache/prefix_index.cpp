#include "cache/prefix_index.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace xylem {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xe7037ed1a0b428dbull);
  return uint64_t(product) ^ uint64_t(product >> 64);
}

// One to one, so that what is mixed by it differs where one of the parts does.
uint64_t scramble(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}

// Chained with the parent's hash, so that equal blocks after different prefixes differ.
uint64_t hash_block(uint64_t parent_hash, uint64_t key, const TokenId* block, int n) {
  uint64_t h = parent_hash ^ key;
  int i = 0;
  for (; i + 1 < n; i += 2) {
    uint64_t two;
    std::memcpy(&two, block + i, sizeof two);
    h = mix(h, two);
  }
  if (i < n) h = mix(h, uint32_t(block[i]));
  return h;
}

}  // namespace

PrefixIndex::PrefixIndex(std::vector<CacheGroup> groups, int block_tokens, std::span<BlockPool> pools)
    : groups_(std::move(groups)), block_tokens_(block_tokens), pools_(pools) {
  CHECK(block_tokens > 0 && groups_.size() == pools.size(), block_tokens, groups_.size(), pools.size());
  int most = 0;
  for (size_t g = 0; g < groups_.size(); g++) {
    lookback_.push_back(groups_[g].lookback_blocks(block_tokens));
    owner_.emplace_back(size_t(pools[g].size()), kNoNode);
    most = std::max(most, pools[g].size());
  }
  held_.resize(groups_.size());
  run_.resize(groups_.size());
  nodes_.reserve(size_t(most));
  tokens_.reserve(size_t(most) * size_t(block_tokens));
  blocks_.reserve(size_t(most) * groups_.size());
  rehash(std::bit_width(unsigned(most)) + 1);
}

PrefixHit PrefixIndex::match(const Prefix& prefix) {
  PrefixHit hit;
  std::fill(run_.begin(), run_.end(), 0);
  NodeId n = kNoNode;
  uint64_t hash = hash_of(kNoNode);
  const int blocks = int(prefix.tokens.size() / size_t(block_tokens_));
  for (int i = 0; i < blocks; i++) {
    const uint64_t key = block_key(prefix, i);
    const TokenId* block = block_tokens(prefix, i);
    hash = hash_block(hash, key, block, block_tokens_);
    n = find(key, n, hash, block);
    if (n == kNoNode) break;
    bool resumable = true;
    for (size_t g = 0; g < groups_.size(); g++) {
      run_[g] = block_of(n, int(g)) == kHole ? 0 : run_[g] + 1;
      resumable &= run_[g] >= std::min(lookback_[g], i + 1);
    }
    if (split_span(prefix.media, (i + 1) * block_tokens_)) continue;
    if (resumable) hit.blocks = i + 1, hit.node = n;
    if (promised(n)) hit.promised_blocks = i + 1, hit.promised = n;
  }
  return hit;
}

void PrefixIndex::attach(const PrefixHit& hit, std::span<BlockTable> tables) {
  for (BlockTable& t : tables) t.start_shared(hit.blocks);
  NodeId n = hit.node;
  for (int back = 0; back < hit.blocks; back++, n = nodes_[size_t(n)].parent)
    for (size_t g = 0; g < groups_.size(); g++)
      if (back < lookback_[g]) tables[g].share_in_front(block_of(n, int(g)));
}

void PrefixIndex::start(PrefixPath& path, const PrefixHit& hit, const Prefix& prefix) {
  CHECK(path.tail == kNoNode && path.goal == kNoNode);
  path = {hit.node, hit.blocks, hit.node, {}};
  path.promised.assign(prefix.tokens.size() / size_t(block_tokens_), kNoNode);
  for (int i = path.blocks; i < int(path.promised.size()); i++) {
    path.promised[size_t(i)] = path.goal = find_or_add(block_key(prefix, i), path.goal, block_tokens(prefix, i));
    nodes_[size_t(path.goal)].promises++;
  }
  if (path.tail != kNoNode) pin(path.tail);
  if (path.goal != kNoNode) pin(path.goal);
}

void PrefixIndex::advance(PrefixPath& path, const Prefix& prefix, std::span<BlockTable> tables) {
  const int computed = int(prefix.tokens.size() / size_t(block_tokens_));
  for (; path.blocks < computed; path.blocks++) {
    const NodeId n = find_or_add(block_key(prefix, path.blocks), path.tail, block_tokens(prefix, path.blocks));
    index_blocks(n, path.blocks, tables);
    withdraw(path, path.blocks);
    pin(n);
    if (path.tail != kNoNode) unpin(path.tail);
    path.tail = n;
  }
}

void PrefixIndex::leave(PrefixPath& path) {
  for (int i = path.blocks; i < int(path.promised.size()); i++) withdraw(path, i);
  if (path.goal != kNoNode) unpin(path.goal);
  if (path.tail != kNoNode) unpin(path.tail);
  path = {};
}

void PrefixIndex::withdraw(PrefixPath& path, int i) {
  if (i >= int(path.promised.size())) return;
  const NodeId n = std::exchange(path.promised[size_t(i)], kNoNode);
  if (n != kNoNode) nodes_[size_t(n)].promises--;
}

void PrefixIndex::forget(int group, BlockId b) {
  const NodeId n = owner_[size_t(group)][size_t(b)];
  CHECK(n != kNoNode, group, b);
  unindex(n, group);
  trim(n);
}

void PrefixIndex::forget(const PrefixPath& path) {
  for (NodeId n = path.tail; n != kNoNode; n = nodes_[size_t(n)].parent)  // pinned at its tail: no node goes
    for (size_t g = 0; g < groups_.size(); g++) unindex(n, int(g));
}

void PrefixIndex::pin(NodeId node) {
  nodes_[size_t(node)].users++;
  pins_++;
}

void PrefixIndex::unpin(NodeId node) {
  nodes_[size_t(node)].users--;
  pins_--;
  trim(node);
}

bool PrefixIndex::evict_one(int group) {
  const BlockId b = pools_[size_t(group)].next_evictable();
  if (b == kHole) return false;
  const NodeId n = owner_[size_t(group)][size_t(b)];
  unindex(n, group);
  if (lookback_[size_t(group)] ==
      kAllBlocks)  // no boundary from here on is resumable: the other groups' blocks are waste
    for (size_t g = 0; g < groups_.size(); g++) unindex(n, int(g));
  trim(n);
  return true;
}

void PrefixIndex::clear() {
  for (size_t g = 0; g < groups_.size(); g++)
    while (evict_one(int(g))) continue;
}

// Of the sequence and the media that begin in the block. Those that began before are in the keys of its parents.
uint64_t PrefixIndex::block_key(const Prefix& prefix, int block) const {
  const int begin = block * block_tokens_;
  uint64_t key = prefix.key;
  for (auto s = std::partition_point(prefix.media.begin(), prefix.media.end(),
                                     [&](const MediaSpan& m) { return m.first < begin; });
       s != prefix.media.end() && s->first - begin < block_tokens_; ++s) {
    key = scramble(key + 0x9e3779b97f4a7c15ull) ^ s->content;
    key = scramble(key) ^ (uint64_t(s->first - begin) << 32 | uint32_t(s->count));
    key = scramble(key);
  }
  return key;
}

const TokenId* PrefixIndex::block_tokens(const Prefix& prefix, int block) const {
  return prefix.tokens.data() + size_t(block) * size_t(block_tokens_);
}

NodeId PrefixIndex::find(uint64_t key, NodeId parent, uint64_t hash, const TokenId* block) const {
  for (NodeId n = buckets_[bucket(hash)]; n != kNoNode; n = nodes_[size_t(n)].next) {
    const Node& node = nodes_[size_t(n)];
    if (node.hash == hash && node.parent == parent && node.key == key &&
        std::memcmp(tokens_of(n), block, size_t(block_tokens_) * sizeof *block) == 0)
      return n;
  }
  return kNoNode;
}

NodeId PrefixIndex::find_or_add(uint64_t key, NodeId parent, const TokenId* block) {
  const uint64_t hash = hash_block(hash_of(parent), key, block, block_tokens_);
  if (const NodeId found = find(key, parent, hash, block); found != kNoNode) return found;
  if (size_t(live_nodes_) >= buckets_.size()) rehash(64 - bucket_shift_ + 1);
  NodeId n = unused_;
  if (n != kNoNode) {
    unused_ = nodes_[size_t(n)].next;
  } else {
    n = NodeId(nodes_.size());
    nodes_.emplace_back();
    tokens_.resize(tokens_.size() + size_t(block_tokens_));
    blocks_.resize(blocks_.size() + groups_.size(), kHole);
  }
  nodes_[size_t(n)] = {hash, key, parent, buckets_[bucket(hash)], 0, 0};
  buckets_[bucket(hash)] = n;
  std::copy_n(block, block_tokens_, &tokens_[size_t(n) * size_t(block_tokens_)]);
  if (parent != kNoNode) nodes_[size_t(parent)].users++;
  live_nodes_++;
  return n;
}

void PrefixIndex::rehash(int bits) {
  std::vector<NodeId> live;
  for (NodeId head : buckets_)
    for (NodeId n = head; n != kNoNode; n = nodes_[size_t(n)].next) live.push_back(n);
  bucket_shift_ = 64 - bits;
  buckets_.assign(size_t(1) << bits, kNoNode);
  for (NodeId n : live) {
    NodeId& head = buckets_[bucket(nodes_[size_t(n)].hash)];
    nodes_[size_t(n)].next = head;
    head = n;
  }
}

void PrefixIndex::index_blocks(NodeId n, int i, std::span<BlockTable> tables) {
  for (size_t g = 0; g < groups_.size(); g++) {
    const BlockId mine = tables[g][i];
    if (mine == kHole || (i == tables[g].size() - 1 && tables[g].overwrites_last())) continue;
    BlockId& indexed = block_of(n, int(g));
    if (indexed == kHole) {
      indexed = mine;
      owner_[g][size_t(mine)] = n;
      pools_[g].set_indexed(mine);
      held_[g]++;
    } else if (indexed != mine) {
      tables[g].replace(i, indexed);
    }
  }
}

void PrefixIndex::unindex(NodeId n, int group) {
  BlockId& b = block_of(n, group);
  if (b == kHole) return;
  owner_[size_t(group)][size_t(b)] = kNoNode;
  pools_[size_t(group)].clear_indexed(b);
  held_[size_t(group)]--;
  b = kHole;
}

void PrefixIndex::trim(NodeId n) {
  while (n != kNoNode && nodes_[size_t(n)].users == 0) {
    for (size_t g = 0; g < groups_.size(); g++)
      if (block_of(n, int(g)) != kHole) return;
    Node& node = nodes_[size_t(n)];
    NodeId* link = &buckets_[bucket(node.hash)];
    while (*link != n) link = &nodes_[size_t(*link)].next;
    *link = node.next;
    node.next = unused_;
    unused_ = n;
    live_nodes_--;
    n = node.parent;
    if (n != kNoNode) nodes_[size_t(n)].users--;
  }
}

void PrefixIndex::check() const {
  std::vector<int> children(nodes_.size()), held(groups_.size());
  int live = 0;
  int64_t users = 0;
  for (NodeId head : buckets_)
    for (NodeId n = head; n != kNoNode; n = nodes_[size_t(n)].next) {
      const Node& node = nodes_[size_t(n)];
      live++;
      users += node.users;
      CHECK(node.promises >= 0, n, node.promises);
      CHECK(node.hash == hash_block(hash_of(node.parent), node.key, tokens_of(n), block_tokens_), n);
      if (node.parent != kNoNode) children[size_t(node.parent)]++, users--;
      for (size_t g = 0; g < groups_.size(); g++) {
        const BlockId b = blocks_[size_t(n) * groups_.size() + g];
        if (b == kHole) continue;
        held[g]++;
        CHECK(owner_[g][size_t(b)] == n && pools_[g].indexed(b), n, b);
      }
    }
  for (size_t n = 0; n < nodes_.size(); n++) CHECK(nodes_[n].users >= children[n], n, nodes_[n].users, children[n]);
  CHECK(live == live_nodes_ && users == pins_, live, live_nodes_, users, pins_);
  CHECK(held == held_);
}

}  // namespace xylem
