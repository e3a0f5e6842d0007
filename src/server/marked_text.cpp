#include "server/marked_text.h"

#include <algorithm>

namespace xylem {

void MarkedText::enter(size_t bytes, const ReasoningTag* tag, bool shown) {
  entered_ += bytes;
  if (tag) marks_.push_back({entered_ - tag->text.size(), tag, shown});
}

void MarkedText::leave(std::string_view text, bool last, ReasoningParser& parser, ReasoningSplit& out) {
  waiting_ += text;
  std::string_view rest = waiting_;
  const auto push = [&](size_t bytes) {
    parser.push_text(rest.substr(0, bytes), out);
    rest.remove_prefix(bytes);
    left_ += bytes;
  };
  for (; !marks_.empty(); marks_.pop_front()) {
    const Mark& mark = marks_.front();
    const size_t before = mark.begin - left_, size = mark.tag->text.size();
    if (before + size > rest.size()) break;
    push(before);
    parser.push_tag(*mark.tag, mark.shown, out);
    rest.remove_prefix(size);
    left_ += size;
  }
  push(marks_.empty() || last ? rest.size() : std::min(rest.size(), marks_.front().begin - left_));
  waiting_.erase(0, waiting_.size() - rest.size());
}

}  // namespace xylem
