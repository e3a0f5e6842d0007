#include "cache/block_pool.h"

#include "base/check.h"

namespace xylem {

BlockPool::BlockPool(int blocks) : size_(blocks), likely_(blocks), unlikely_(blocks + 1) {
  CHECK(blocks >= 0, blocks);
  links_.resize(size_t(blocks) + 2);
  for (BlockId list : {likely_, unlikely_}) links_[size_t(list)].prev = links_[size_t(list)].next = list;
  free_.reserve(size_t(blocks));
  for (BlockId b = blocks; b-- > 0;) free_.push_back(b);
}

BlockId BlockPool::take() {
  if (free_.empty()) return kHole;
  const BlockId b = free_.back();
  free_.pop_back();
  links_[size_t(b)].refs = 1;
  return b;
}

void BlockPool::retain(BlockId b) {
  Link& link = at(b);
  if (link.refs == 0) {
    CHECK(link.indexed, b);  // a free block has no content to share
    unlink(b);
  }
  link.refs++;
}

void BlockPool::release(BlockId b, bool likely) {
  Link& link = at(b);
  CHECK(link.refs > 0, b);
  if (--link.refs > 0) return;
  if (link.indexed) {
    push_youngest(b, likely ? likely_ : unlikely_);
  } else {
    free_.push_back(b);
  }
}

void BlockPool::set_indexed(BlockId b) {
  Link& link = at(b);
  CHECK(link.refs > 0 && !link.indexed, b, link.refs);
  link.indexed = true;
}

void BlockPool::clear_indexed(BlockId b) {
  Link& link = at(b);
  CHECK(link.indexed, b);
  link.indexed = false;
  if (link.refs > 0) return;
  unlink(b);
  free_.push_back(b);
}

BlockPool::Link& BlockPool::at(BlockId b) {
  CHECK(b >= 0 && b < size_, b, size_);
  return links_[size_t(b)];
}

BlockId BlockPool::next_evictable() const {
  for (BlockId list : {unlikely_, likely_})
    if (const BlockId b = links_[size_t(list)].next; b != list) return b;
  return kHole;
}

void BlockPool::push_youngest(BlockId b, BlockId list) {
  Link& sentinel = links_[size_t(list)];
  links_[size_t(b)].prev = sentinel.prev;
  links_[size_t(b)].next = list;
  links_[size_t(sentinel.prev)].next = b;
  sentinel.prev = b;
  evictable_++;
}

void BlockPool::unlink(BlockId b) {
  const Link& link = links_[size_t(b)];
  links_[size_t(link.prev)].next = link.next;
  links_[size_t(link.next)].prev = link.prev;
  evictable_--;
}

}  // namespace xylem
