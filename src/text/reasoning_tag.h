// What the parts of the reasoning parser hand each other.
#pragma once
#include <string>

#include "base/token.h"

namespace xylem {

struct ReasoningTag {
  enum class Role {
    kOpen,       // blocks: reasoning begins
    kClose,      // blocks: reasoning ends
    kTool,       // blocks: a tool call begins; ends reasoning that was not closed, and belongs to the answer
    kStart,      // harmony: a message's header begins
    kChannel,    // harmony: the channel's name follows
    kMessage,    // harmony: the header ends, the message's text begins
    kConstrain,  // harmony: the content type of a tool call follows
    kEnd,        // harmony: the message ends, more may follow
    kStop,       // harmony: the message and the turn end
  };
  Role role;
  std::string text;
  TokenId id = -1;  // -1: the vocabulary has no such token
};

// Text of a stream, sorted. Appended to.
struct ReasoningSplit {
  std::string reasoning, content;
};

}  // namespace xylem
