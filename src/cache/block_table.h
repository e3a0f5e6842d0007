// The blocks of one request in one group: entry i holds tokens [i * block_tokens, (i + 1) * block_tokens).
#pragma once
#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/block_pool.h"

namespace xylem {

// Owns one reference per entry that is not a hole. The ids are contiguous, so that they are the page table of the
// request: entries are appended by planning a step; committing one may turn leading entries into holes and exchange an
// entry for an equal block. A step therefore works on the ids it was built from. The pool outlives the table.
//
// A table of states has holes anywhere: entry i holds the state after token (i + 1) * block_tokens - 1 where there is a
// snapshot, and the last entry the state after the last planned token, from which the request continues. Planning a
// step moves that block to the new last entry if the next step may overwrite it.
class BlockTable {
 public:
  explicit BlockTable(BlockPool* pool) : pool_(pool) {}
  BlockTable(BlockTable&& o) noexcept
      : pool_(o.pool_),
        ids_(std::exchange(o.ids_, {})),
        first_(std::exchange(o.first_, 0)),
        shared_(std::exchange(o.shared_, 0)),
        overwrites_last_(std::exchange(o.overwrites_last_, false)) {}
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;
  ~BlockTable() { clear(); }

  int size() const { return int(ids_.size()); }
  BlockId operator[](int i) const { return ids_[size_t(i)]; }
  std::span<const BlockId> ids() const { return ids_; }

  // Takes over the caller's reference.
  void append(BlockId b) { ids_.push_back(b); }
  // The same for the hole at entry i, at the end or behind it: holes fill up what lies between.
  void put(int i, BlockId b) {
    if (i >= size()) ids_.resize(size_t(i) + 1, kHole);
    CHECK(ids_[size_t(i)] == kHole, i, size());
    ids_[size_t(i)] = b;
  }
  // The last block becomes entry i, the last one or behind it.
  void move_last(int i) {
    const BlockId b = std::exchange(ids_.back(), kHole);
    put(i, b);
  }

  // Of states: the last block is no snapshot. The next step overwrites it, so nothing else may ever refer to it.
  bool overwrites_last() const { return overwrites_last_; }
  void set_overwrites_last(bool on) { overwrites_last_ = on; }
  // Of states, when a row [begin, end) has just been planned: the block that holds the state before the row. kHole when
  // begin is 0, the block of end when that is overwritten.
  BlockId state_in(int begin, int end, int block_tokens) const {
    if (begin == 0) return kHole;
    const BlockId kept = begin % block_tokens == 0 ? ids_[size_t(begin / block_tokens - 1)] : kHole;
    return kept != kHole ? kept : ids_[size_t((end - 1) / block_tokens)];
  }

  // The table is empty: makes it n holes, then takes shared blocks from the back to the front, without a gap.
  void start_shared(int n) {
    CHECK(ids_.empty(), size());
    ids_.assign(size_t(n), kHole);
    first_ = shared_ = n;
  }
  void share_in_front(BlockId b) {
    pool_->retain(b);
    ids_[size_t(--first_)] = b;
  }

  // Exchanges entry i for an equal block.
  void replace(int i, BlockId b) {
    pool_->retain(b);
    pool_->release(std::exchange(ids_[size_t(i)], b));
  }

  // Entries before i become holes. Those that were shared, and those in [likely, likely_end), count as likely to be
  // asked for again.
  void drop_before(int i, int likely = 0, int likely_end = 0) {
    for (const int end = std::min(i, size()); first_ < end; first_++)
      if (const BlockId b = std::exchange(ids_[size_t(first_)], kHole); b != kHole)
        pool_->release(b, first_ < shared_ || (first_ >= likely && first_ < likely_end));
  }

  // The deepest entry is released first, so that of blocks only the index keeps, children are evicted before parents.
  void clear() {
    while (size() > first_) {
      if (ids_.back() != kHole) pool_->release(ids_.back());
      ids_.pop_back();
    }
    ids_.clear();
    first_ = shared_ = 0;
    overwrites_last_ = false;
  }

 private:
  BlockPool* pool_;
  std::vector<BlockId> ids_;
  int first_ = 0;   // entries before are holes; the others are not, except of states
  int shared_ = 0;  // entries before were computed by others
  bool overwrites_last_ = false;
};

}  // namespace xylem
