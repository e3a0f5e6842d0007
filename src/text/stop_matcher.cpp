#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace xylem {
namespace {

std::vector<uint32_t> borders(const std::string& s) {
  std::vector<uint32_t> border(s.size() + 1, 0);
  uint32_t k = 0;
  for (size_t i = 1; i < s.size(); ++i) {
    while (k > 0 && s[i] != s[k]) k = border[k];
    if (s[i] == s[k]) ++k;
    border[i + 1] = k;
  }
  return border;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops, bool keep_stop) : keep_stop_(keep_stop) {
  for (std::string& s : stops) {
    if (s.empty()) continue;
    std::vector<uint32_t> border = borders(s);
    stops_.push_back({std::move(s), std::move(border)});
  }
}

bool StopMatcher::Stop::advance(char c) {
  if (matched == text.size()) matched = border[matched];
  while (matched > 0 && text[matched] != c) matched = border[matched];
  if (text[matched] == c) ++matched;
  return matched == text.size();
}

StopMatcher::Out StopMatcher::push(std::string_view piece) {
  if (done_) return {};
  const size_t before = held_.size();
  held_ += piece;
  const Stop* found = nullptr;
  size_t found_begin = 0, hold = 0;
  for (Stop& stop : stops_) {
    for (size_t i = 0; i < piece.size(); ++i) {
      if (!stop.advance(piece[i])) continue;
      const size_t begin = before + i + 1 - stop.text.size();
      if (!found || begin < found_begin || (begin == found_begin && stop.text.size() > found->text.size())) {
        found = &stop;
        found_begin = begin;
      }
    }
    hold = std::max<size_t>(hold, stop.matched);
  }
  if (found) {
    done_ = true;
    held_.resize(found_begin + (keep_stop_ ? found->text.size() : 0));
    return {std::exchange(held_, {}), found->text};
  }
  Out out{held_.substr(0, held_.size() - hold), std::nullopt};
  held_.erase(0, out.text.size());
  return out;
}

std::string StopMatcher::finish() {
  done_ = true;
  return std::exchange(held_, {});
}

}  // namespace xylem
