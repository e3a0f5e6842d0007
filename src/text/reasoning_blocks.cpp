#include "text/reasoning_blocks.h"

#include <utility>

namespace xylem {
namespace {

bool is_blank(std::string_view s) { return s.find_first_not_of(" \t\r\n") == std::string_view::npos; }

}  // namespace

BlockReader::BlockReader(std::string label, bool inside)
    : label_(std::move(label)), state_(inside ? State::kReasoning : State::kContent) {}

void BlockReader::text(std::string_view piece, ReasoningSplit& out) {
  if (state_ == State::kContent) {
    out.content += piece;
    answered_ = answered_ || !is_blank(piece);
    return;
  }
  std::string labelled;
  if (state_ == State::kLabel) {
    held_ += piece;
    if (held_.size() < label_.size() && label_.starts_with(held_)) return;
    state_ = State::kReasoning;
    labelled = std::exchange(held_, {});
    piece = labelled;
    if (piece.starts_with(label_)) piece.remove_prefix(label_.size());  // another label: it is kept, as reasoning
  }
  out.reasoning += piece;
  fresh_ = fresh_ && is_blank(piece);
}

void BlockReader::tag(const ReasoningTag& tag, bool certain, bool shown, ReasoningSplit& out) {
  using Role = ReasoningTag::Role;
  if (tag.role == Role::kOpen && !inside() && (certain || !answered_)) return open();
  if (tag.role == Role::kOpen && inside() && fresh_ && held_.empty())
    return open();  // said again after the prompt said it
  if (tag.role != Role::kOpen && inside()) {
    close(out);
    if (tag.role == Role::kClose) return;
  }
  if (shown) text(tag.text, out);
}

void BlockReader::finish(ReasoningSplit& out) { out.reasoning += std::exchange(held_, {}); }

void BlockReader::open() {
  state_ = label_.empty() ? State::kReasoning : State::kLabel;
  fresh_ = true;
  held_.clear();
}

void BlockReader::close(ReasoningSplit& out) {
  const bool only_label = held_ == std::string_view(label_).substr(0, label_.find('\n'));
  if (!only_label) out.reasoning += held_;
  held_.clear();
  state_ = State::kContent;
}

}  // namespace xylem
