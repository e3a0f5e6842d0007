#include "text/reasoning_harmony.h"

#include <utility>

namespace xylem {
namespace {

constexpr std::string_view kRecipient = " to=";  // how a header goes on after "<|start|>assistant"

std::string_view next_word(std::string_view& s) {
  constexpr std::string_view kSpace = " \t\r\n";
  s.remove_prefix(std::min(s.size(), s.find_first_not_of(kSpace)));
  const std::string_view word = s.substr(0, s.find_first_of(kSpace));
  s.remove_prefix(word.size());
  return word;
}

bool has_recipient(std::string_view header) {
  while (!header.empty())
    if (next_word(header).starts_with(kRecipient.substr(1))) return true;
  return false;
}

}  // namespace

void HarmonyReader::text(std::string_view piece, ReasoningSplit& out) {
  switch (state_) {
    case State::kIdle:
      held_ += piece;
      if (held_.size() < kRecipient.size() && kRecipient.starts_with(held_)) return;
      if (held_.starts_with(kRecipient)) {
        state_ = State::kHeader;
        role_ = std::exchange(held_, {});
        channel_.clear();
        in_channel_ = false;
      } else {
        state_ = State::kContent;
        out.content += std::exchange(held_, {});
      }
      return;
    case State::kHeader:
      (in_channel_ ? channel_ : role_) += piece;
      return;
    case State::kContent:
      out.content += piece;
      return;
    case State::kReasoning:
      out.reasoning += piece;
      return;
    case State::kHidden:
      return;
  }
}

void HarmonyReader::tag(const ReasoningTag& tag, ReasoningSplit& out) {
  using Role = ReasoningTag::Role;
  switch (tag.role) {
    case Role::kStart:
      idle(out);
      state_ = State::kHeader;
      role_.clear();
      channel_.clear();
      in_channel_ = false;
      return;
    case Role::kChannel:
      return begin_channel(out);
    case Role::kConstrain:
      if (state_ == State::kHeader) (in_channel_ ? channel_ : role_) += ' ';
      return;
    case Role::kMessage:
      if (state_ == State::kHeader) state_ = state_of_header();
      if (state_ == State::kIdle) {
        idle(out);
        state_ = State::kContent;
      }
      return;
    default:
      return idle(out);
  }
}

// Also where it stands without <|start|>: after the prompt's, or in a message that was not ended.
void HarmonyReader::begin_channel(ReasoningSplit& out) {
  if (state_ != State::kHeader) {
    idle(out);
    state_ = State::kHeader;
    role_.clear();
    channel_.clear();
  } else if (in_channel_) {
    channel_ += ' ';
  }
  in_channel_ = true;
}

HarmonyReader::State HarmonyReader::state_of_header() const {
  std::string_view role_text = role_, channel_text = channel_;
  const std::string_view role = next_word(role_text);
  const std::string_view channel = next_word(channel_text);
  if (!role.empty() && role != "assistant" && !role.starts_with("to=")) return State::kHidden;
  if (channel == "final") return State::kContent;
  if (has_recipient(role_) || has_recipient(channel_)) return State::kHidden;
  // Of an unknown channel nothing is lost, and nothing may leak.
  return channel.empty() || channel == "commentary" ? State::kContent : State::kReasoning;
}

void HarmonyReader::idle(ReasoningSplit& out) {
  out.content += std::exchange(held_, {});
  state_ = State::kIdle;
}

}  // namespace xylem
