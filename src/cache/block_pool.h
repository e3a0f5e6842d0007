// The ids of one group's blocks: which are free, how many tables refer to each, which only the prefix index keeps.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace xylem {

using BlockId = int32_t;
inline constexpr BlockId kHole = -1;  // no block

// Owns ids, never bytes. A block is free, used (refs > 0), or evictable (no refs, but the index can still find it):
// free + used + evictable == size. One thread. Every operation is O(1).
class BlockPool {
 public:
  explicit BlockPool(int blocks);

  BlockId take();          // a free block with one reference; kHole when none is free
  void retain(BlockId b);  // one more reference to a used or an evictable block
  // One less. After the last one b is free, or evictable if indexed: the youngest, and after all unlikely ones if it is
  // likely that its content is asked for again.
  void release(BlockId b, bool likely = true);
  void set_indexed(BlockId b);    // b is used; from now on it survives its last reference
  void clear_indexed(BlockId b);  // an evictable b is free at once, a used one after its last reference

  BlockId next_evictable() const;  // the one to evict first; kHole when there is none
  int refs(BlockId b) const { return links_[size_t(b)].refs; }
  bool indexed(BlockId b) const { return links_[size_t(b)].indexed; }
  int size() const { return size_; }
  int free_blocks() const { return int(free_.size()); }
  int evictable_blocks() const { return evictable_; }
  int used_blocks() const { return size() - free_blocks() - evictable_; }
  int available_blocks() const { return free_blocks() + evictable_; }

 private:
  struct Link {
    BlockId prev = kHole, next = kHole;  // in one of the two lists of evictable blocks, oldest first
    int refs = 0;
    bool indexed = false;
  };
  Link& at(BlockId b);
  void push_youngest(BlockId b, BlockId list);
  void unlink(BlockId b);

  const int size_;
  const BlockId likely_, unlikely_;  // the lists' sentinels
  int evictable_ = 0;
  std::vector<Link> links_;  // [size + 2]
  std::vector<BlockId> free_;
};

}  // namespace xylem
