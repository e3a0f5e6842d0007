// Stop strings in a stream of text pieces: holds back what may be the beginning of a stop string.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xylem {

// One stream, one thread at a time. A stream stops with the first push() after which its text contains a stop string;
// of several in the text so far, the one that begins first counts, of those beginning at one place the longest.
class StopMatcher {
 public:
  // Empty stop strings are ignored. keep_stop: no_stop_trim.
  explicit StopMatcher(std::vector<std::string> stops, bool keep_stop = false);
  struct Out {
    std::string text;                    // safe to send
    std::optional<std::string> matched;  // the stop string found; text ends before it (after it with keep_stop)
  };
  // After a match the stream is over: further pushes give nothing.
  Out push(std::string_view piece);
  std::string finish();  // what was held back

 private:
  // One stop string and how much of it the stream's end matches (Knuth-Morris-Pratt: O(1) amortised per byte).
  struct Stop {
    std::string text;
    std::vector<uint32_t> border;  // border[n]: longest proper prefix of text that ends text[0, n)
    uint32_t matched = 0;
    bool advance(char c);  // true when the whole string just ended
  };
  std::vector<Stop> stops_;
  bool keep_stop_;
  bool done_ = false;
  std::string held_;
};

}  // namespace xylem
