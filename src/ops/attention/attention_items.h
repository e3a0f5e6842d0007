// How an Attention call is cut into work items; the same for every instruction set.
//
// Keys are taken in tiles of kTile at absolute positions. A tile's scores, softmax and values are computed against the tile's
// own maximum and then merged into the running result of the row, tile after tile. What a row's result consists of is thus
// fixed by its own position, window, limit and cache alone: it has the same bits whatever else is in the batch, however the prompt
// was cut into chunks, and however many threads there are. (A tile may be computed apart and merged later: same arithmetic.)
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/attention/attention.h"

namespace xylem {
namespace {

constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kTile = 256;     // keys
constexpr int64_t kRows = 32;      // query rows (tokens x heads of one kv head) of an item

// Queries [token, token + tokens) x heads [head, head + heads) over key tiles [tile_begin, tile_end).
struct Item {
  int32_t row = 0;       // of the batch
  int32_t token = 0, tokens = 0;
  int32_t head = 0, heads = 0;
  int32_t position = 0;  // of the first query
  int32_t end = 0;       // past the last key that any of them sees
  int32_t tile_begin = 0, tile_end = 0;
  int64_t partial = -1;  // floats into the partial results, of tile_begin; -1: the item writes y itself
  int64_t rows() const { return int64_t(tokens) * heads; }
};

// A partial result of one tile: values [rows][padded dim], maxima [kRows], sums [kRows].
inline int64_t partial_floats(int64_t rows, int64_t padded_dim) { return rows * padded_dim + 2 * kRows; }

struct ItemList {
  std::vector<Item> items;
  std::vector<Item> merges;  // whole tile ranges of the items that were split
  int64_t partial_floats = 0;
};

// First key that the query at a position sees.
inline int64_t first_key(int64_t position, int window) { return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0; }

// Past the last key that the query of a token and position sees.
inline int32_t keys_end(const Attention& a, int64_t token, int64_t position) {
  return a.limits ? a.limits.as<int32_t>()[token] : int32_t(position + 1);
}

// Every (queries, heads) unit of the call, not split over keys yet. Long ones first within a row.
inline std::vector<Item> whole_items(const Attention& a) {
  const int32_t group = int32_t(a.q.dim[1] / a.cache.kv_heads), heads = std::min<int32_t>(group, kRows), tokens = int32_t(kRows) / heads;
  const int32_t *cu = a.cu_q.as<int32_t>(), *len = a.kv_len.as<int32_t>();
  std::vector<Item> v;
  for (int32_t b = 0; b < a.kv_len.numel(); b++)
    for (int32_t kv = 0; kv < a.cache.kv_heads; kv++)
      for (int32_t h = 0; h < group; h += heads)
        for (int32_t i = (cu[b + 1] - cu[b] - 1) / tokens; i >= 0 && cu[b + 1] > cu[b]; i--) {
          Item it{b, cu[b] + i * tokens, 0, kv * group + h, std::min(heads, group - h)};
          it.tokens = std::min(tokens, cu[b + 1] - it.token);
          it.position = len[b] - (cu[b + 1] - it.token);
          it.end = it.position + it.tokens;
          for (int32_t t = 0; a.limits && t < it.tokens; t++) {
            const int32_t end = keys_end(a, it.token + t, 0);
            CHECK(end > it.position + t && end <= len[b], end, it.position + t, len[b]);
            it.end = std::max(it.end, end);
          }
          it.tile_begin = int32_t(first_key(it.position, a.window) / kTile);
          it.tile_end = int32_t((it.end - 1) / kTile + 1);
          v.push_back(it);
        }
  return v;
}

// Items that are long beside the share of a thread are split over keys.
inline ItemList make_items(const Attention& a, int threads) {
  ItemList list;
  int64_t total = 0;
  std::vector<Item> whole = whole_items(a);
  for (const Item& it : whole) total += it.tile_end - it.tile_begin;
  const int32_t limit = int32_t(std::max<int64_t>(1, total / (4 * threads)));
  for (Item& it : whole) {
    if (threads == 1 || it.tile_end - it.tile_begin <= limit) {
      list.items.push_back(it);
      continue;
    }
    const int64_t size = partial_floats(it.rows(), a.cache.padded_dim());
    it.partial = list.partial_floats;
    list.partial_floats += size * (it.tile_end - it.tile_begin);
    list.merges.push_back(it);
    for (Item part = it; part.tile_begin < it.tile_end; part.tile_begin = part.tile_end) {
      part.tile_end = std::min(it.tile_end, part.tile_begin + limit);
      part.partial = it.partial + size * (part.tile_begin - it.tile_begin);
      list.items.push_back(part);
    }
  }
  return list;
}

}  // namespace
}  // namespace xylem
