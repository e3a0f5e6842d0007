// Harmony: a turn is a row of messages <|start|> header <|message|> text <|end|>. The header names a role, a channel
// and a recipient; it decides what the text is.
#pragma once
#include <string>
#include <string_view>

#include "text/reasoning_tag.h"

namespace xylem {

class HarmonyReader {
 public:
  // inside: the stream begins in the text of an analysis message. Otherwise it begins after "<|start|>assistant".
  explicit HarmonyReader(bool inside) : state_(inside ? State::kReasoning : State::kIdle) {}

  void text(std::string_view piece, ReasoningSplit& out);
  void tag(const ReasoningTag& tag, ReasoningSplit& out);
  void finish(ReasoningSplit& out) { out.content += held_; }
  bool inside() const { return state_ == State::kReasoning; }

 private:
  // kIdle: between messages; text that begins no header is an answer without one. kHidden: a tool call or its result.
  enum class State { kIdle, kHeader, kContent, kReasoning, kHidden };
  void begin_channel(ReasoningSplit& out);
  State state_of_header() const;
  void idle(ReasoningSplit& out);

  State state_;
  std::string held_;  // kIdle: may be a header
  std::string role_, channel_;
  bool in_channel_ = false;  // the header's text is the channel's
};

}  // namespace xylem
