// What the layers of a model keep in the cache, declared by the layers themselves.
#pragma once
#include <climits>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace xylem {

inline constexpr int kAllBlocks = INT_MAX;

// Which group a layer's bytes live in, and which slice of the group's block.
struct CacheRef {
  int group = -1;
  int layer = -1;
  bool valid() const { return group >= 0; }
};

// A group = layers that keep the same thing for the same time. window_tokens: 0 = everything, W = a query sees itself and
// W-1 tokens before it, -1 = a state, which stands for all tokens before it. A block holds `layers` slices, one after the
// other, each of the bytes of block_tokens tokens or of one whole state.
struct CacheGroup {
  int window_tokens = 0;
  size_t bytes_per_token = 0;  // of one layer; 0 for states
  size_t bytes_per_state = 0;  // of one layer; 0 for everything else
  int layers = 0;

  bool same_kind(const CacheGroup& o) const {
    return window_tokens == o.window_tokens && bytes_per_token == o.bytes_per_token && bytes_per_state == o.bytes_per_state;
  }
  bool is_state() const { return window_tokens < 0; }
  // How many of its last blocks a sequence needs to continue.
  int lookback_blocks(int block_tokens) const {
    if (window_tokens == 0) return kAllBlocks;
    if (window_tokens < 0) return 1;
    return (window_tokens - 1 + block_tokens - 1) / block_tokens;
  }
  // The first block that a query at position `begin` or later reads. Older blocks may leave the request's table.
  int first_needed_block(int begin, int block_tokens) const {
    if (window_tokens == 0) return 0;
    const int seen = window_tokens < 0 ? 1 : window_tokens - 1;  // tokens before begin
    return begin > seen ? (begin - seen) / block_tokens : 0;
  }
  size_t layer_bytes(int block_tokens) const { return bytes_per_state + bytes_per_token * size_t(block_tokens); }
  size_t block_bytes(int block_tokens) const { return layer_bytes(block_tokens) * size_t(layers); }
};

// Collects declarations while a model is constructed; equal ones share a group.
class CacheLayout {
 public:
  explicit CacheLayout(size_t kv_element_bytes) : kv_bytes_(kv_element_bytes) {}
  CacheRef kv(int heads, int dim) { return add({0, kv_size(heads, dim), 0, 0}); }
  CacheRef window_kv(int heads, int dim, int window_tokens) { return add({window_tokens, kv_size(heads, dim), 0, 0}); }
  CacheRef latent(int dim) { return add({0, size_t(dim) * kv_bytes_, 0, 0}); }
  CacheRef state(size_t bytes) { return add({-1, 0, bytes, 0}); }
  const std::vector<CacheGroup>& groups() const { return groups_; }
  size_t kv_element_bytes() const { return kv_bytes_; }

 private:
  size_t kv_size(int heads, int dim) const { return size_t(heads) * size_t(dim) * 2 * kv_bytes_; }
  CacheRef add(CacheGroup g) {
    for (size_t i = 0; i < groups_.size(); i++)
      if (groups_[i].same_kind(g)) return {int(i), groups_[i].layers++};
    g.layers = 1;
    groups_.push_back(g);
    return {int(groups_.size()) - 1, 0};
  }
  size_t kv_bytes_;
  std::vector<CacheGroup> groups_;
};

}  // namespace xylem
