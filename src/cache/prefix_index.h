// Finds the blocks of a known prefix: a trie whose edges are whole blocks of tokens, for all groups at once.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/token.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "cache/layout.h"
#include "cache/media_span.h"

namespace xylem {

using NodeId = int32_t;
inline constexpr NodeId kNoNode = -1;

// A token sequence, and what tells it from others of the same tokens. Refers to the caller's memory.
struct Prefix {
  uint64_t key = 0;  // sequences of different keys never share
  std::span<const TokenId> tokens;
  std::span<const MediaSpan> media = {};  // of the whole prompt: tokens may end before or within
};

// What the index knows of a token sequence.
struct PrefixHit {
  int blocks = 0;           // the deepest boundary from which every group can continue
  NodeId node = kNoNode;    // where that is
  int promised_blocks = 0;  // how far a running request is about to compute the same sequence, 0 when none is
  NodeId promised = kNoNode;
};

// Where a running request stands in the trie.
struct PrefixPath {
  NodeId tail = kNoNode;         // its deepest indexed block; pinned
  int blocks = 0;                // how many blocks that is
  NodeId goal = kNoNode;         // the last block of the tokens it started with; pinned
  std::vector<NodeId> promised;  // per block up to the goal: its node while it is promised, else kNoNode
};

// A node stands for a prefix of whole blocks: key, tokens and the media that begin in it. It may hold the prefix's last
// block for some groups and not for others; it lives while it holds a block, has a child or is pinned. Boundaries are
// resumable if every group has its last `lookback` blocks: that one predicate serves full attention, windows and
// states, of which there are snapshots at some boundaries only. A promised node is one that a running request will make
// resumable, so that a second one need not compute the same. Nothing that a table refers to is evicted. Tables of
// requests on a path hold the indexed blocks themselves (advance() exchanges duplicates), and release deepest first: so
// for full groups the oldest evictable block never has a child. One thread. Eviction and steps along a path are O(1)
// per block.
class PrefixIndex {
 public:
  // pools outlive the index.
  PrefixIndex(std::vector<CacheGroup> groups, int block_tokens, std::span<BlockPool> pools);

  // Looks at the whole blocks of the prefix. Neither a hit nor a promise ends strictly inside a whole span.
  PrefixHit match(const Prefix& prefix);
  // Puts the hit's blocks into empty tables, one per group: holes where the group does not need them.
  void attach(const PrefixHit& hit, std::span<BlockTable> tables);

  // A request whose tables hold the hit's blocks begins to compute the rest of the prefix: the path stands at the
  // hit and promises all whole blocks.
  void start(PrefixPath& path, const PrefixHit& hit, const Prefix& prefix);
  // The prefix is computed: indexes its new whole blocks. Where the index already has the block, the table takes that
  // one. Key and media are those that the path was started with.
  void advance(PrefixPath& path, const Prefix& prefix, std::span<BlockTable> tables);
  // The request stops: withdraws what it promised and has not computed.
  void leave(PrefixPath& path);
  // No state will be kept after the path's block i: nobody need wait for it.
  void withdraw(PrefixPath& path, int i);
  // Takes all blocks of the path out of the index: their content is not to be trusted.
  void forget(const PrefixPath& path);
  // Takes one block out of the index, which a table refers to: its holder is going to overwrite it.
  void forget(int group, BlockId b);

  // Whether some running request is still going to compute the node.
  bool promised(NodeId node) const { return nodes_[size_t(node)].promises > 0; }
  void pin(NodeId node);
  void unpin(NodeId node);

  // Frees the block of a group that is the least likely to be missed. False when none is evictable.
  bool evict_one(int group);
  // Forgets every block that no table refers to.
  void clear();

  int held_blocks(int group) const { return held_[size_t(group)]; }
  int nodes() const { return live_nodes_; }
  int pins() const { return pins_; }
  // CHECKs links, counts and ownership; walks everything.
  void check() const;

 private:
  struct Node {
    uint64_t hash = 0, key = 0;  // the key is of its last block
    NodeId parent = kNoNode;
    NodeId next = kNoNode;  // in its bucket, or in the list of unused nodes
    int users = 0;          // children and pins
    int promises = 0;       // running requests that will compute it
  };
  size_t bucket(uint64_t hash) const { return hash >> bucket_shift_; }
  const TokenId* tokens_of(NodeId n) const { return &tokens_[size_t(n) * size_t(block_tokens_)]; }
  BlockId& block_of(NodeId n, int g) { return blocks_[size_t(n) * groups_.size() + size_t(g)]; }
  uint64_t block_key(const Prefix& prefix, int block) const;
  const TokenId* block_tokens(const Prefix& prefix, int block) const;
  uint64_t hash_of(NodeId n) const { return n == kNoNode ? 0 : nodes_[size_t(n)].hash; }
  NodeId find(uint64_t key, NodeId parent, uint64_t hash, const TokenId* block) const;
  NodeId find_or_add(uint64_t key, NodeId parent, const TokenId* block);
  void rehash(int bits);
  void index_blocks(NodeId n, int i, std::span<BlockTable> tables);
  void unindex(NodeId n, int group);
  void trim(NodeId n);

  std::vector<CacheGroup> groups_;
  std::vector<int> lookback_;  // per group, blocks
  int block_tokens_;
  std::span<BlockPool> pools_;
  std::vector<std::vector<NodeId>> owner_;  // per group and block: the node that holds it
  std::vector<int> held_;                   // per group
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;  // [nodes, block_tokens]
  std::vector<BlockId> blocks_;  // [nodes, groups]
  std::vector<NodeId> buckets_;
  int bucket_shift_ = 0;
  NodeId unused_ = kNoNode;
  int live_nodes_ = 0, pins_ = 0;
  std::vector<int> run_;  // scratch of match(), per group
};

}  // namespace xylem
