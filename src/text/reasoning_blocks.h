// Reasoning between an opening and a closing tag.
#pragma once
#include <string>
#include <string_view>

#include "text/reasoning_tag.h"

namespace xylem {

class BlockReader {
 public:
  // label: follows the opening tag, e.g. "thought\n". inside: the stream begins in a block, after its label.
  BlockReader(std::string label, bool inside);

  void text(std::string_view piece, ReasoningSplit& out);
  // certain: it was a token of its own, not text that looks like the tag. After the answer has begun only such a tag
  // opens a block: rather a second thought in the answer than an answer about tags lost in the reasoning.
  void tag(const ReasoningTag& tag, bool certain, bool shown, ReasoningSplit& out);
  void finish(ReasoningSplit& out);
  bool inside() const { return state_ != State::kContent; }

 private:
  enum class State { kContent, kLabel, kReasoning };
  void open();
  void close(ReasoningSplit& out);

  std::string label_;
  State state_;
  std::string held_;       // kLabel: what may become the label
  bool fresh_ = true;      // kReasoning: nothing but space so far
  bool answered_ = false;  // the answer has more than space
};

}  // namespace xylem
