#pragma once
#include <cstdint>

namespace xylem {

// Tokens of a prompt that stand for something else than their ids: the placeholders of an image.
struct MediaSpan {
  int first = 0, count = 0;  // tokens [first, first + count) of the prompt; spans are in order and do not overlap
  uint64_t content = 0;      // hash of what they stand for: cached blocks are shared where it is equal too
  bool whole = false;        // computed in one step, and no cached prefix ends inside
  bool operator==(const MediaSpan&) const = default;
};

}  // namespace xylem
