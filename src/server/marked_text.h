// Text on its way through the stop matcher, which may hold some of it back: remembers which of it were tokens that are
// tags, and hands both to the reasoning parser in their order.
#pragma once
#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "text/reasoning.h"

namespace xylem {

class MarkedText {
 public:
  // bytes of text go in; tag, if not null: they end with its spelling. shown: see ReasoningParser::push_tag.
  void enter(size_t bytes, const ReasoningTag* tag, bool shown);
  // What went in comes out, or a part of it from its beginning. last: no more will come, so a tag that was cut is text.
  void leave(std::string_view text, bool last, ReasoningParser& parser, ReasoningSplit& out);

 private:
  struct Mark {
    size_t begin;  // bytes since the stream began
    const ReasoningTag* tag;
    bool shown;
  };
  size_t entered_ = 0, left_ = 0;  // bytes; left_: handed to the parser
  std::deque<Mark> marks_;
  std::string waiting_;  // out of the matcher, but only a part of a tag
};

}  // namespace xylem
