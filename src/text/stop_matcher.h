// Stop strings in a stream of text pieces: holds back what may be the beginning of a stop string.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xylem {

// One stream, one thread at a time.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops, bool keep_stop = false);  // keep_stop: no_stop_trim
  struct Out {
    std::string text;                    // safe to send
    std::optional<std::string> matched;  // the stop string found (the earliest in the text; the longest there); text ends before it
  };
  Out push(std::string_view piece);
  std::string finish();                  // what was held back

 private:
  std::vector<std::string> stops_;
  bool keep_stop_;
  std::string held_;
};

}  // namespace xylem
