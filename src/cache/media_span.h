#pragma once
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>

namespace xylem {

// Tokens of a prompt that stand for something else than their ids: the placeholders of an image.
struct MediaSpan {
  int first = 0, count = 0;  // tokens [first, first + count) of the prompt; spans are in order and do not overlap
  uint64_t content = 0;      // hash of what they stand for: cached blocks are shared where it is equal too
  bool whole = false;        // computed in one step, and no cached prefix ends inside
  bool operator==(const MediaSpan&) const = default;
};

// The whole span that has tokens before the position and tokens from it on; null if there is none.
inline const MediaSpan* split_span(std::span<const MediaSpan> media, int position) {
  const auto next =
      std::partition_point(media.begin(), media.end(), [&](const MediaSpan& s) { return s.first < position; });
  if (next == media.begin()) return nullptr;
  const MediaSpan& s = *std::prev(next);
  return s.whole && position - s.first < s.count ? &s : nullptr;
}

}  // namespace xylem
