#include "text/reasoning.h"

#include <algorithm>
#include <utility>

namespace xylem {
namespace {

using Role = ReasoningTag::Role;

std::string_view trim_end(std::string_view s) {
  const size_t last = s.find_last_not_of(" \t\r\n");
  return s.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

// Where the last `tag` ends; 0 when there is none.
size_t end_of_last(std::string_view text, std::string_view tag) {
  const size_t at = text.rfind(tag);
  return at == std::string_view::npos ? 0 : at + tag.size();
}

// How much of the text's end may be the beginning of the tag.
size_t beginning_at_end(std::string_view text, std::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n)
    if (text.ends_with(tag.substr(0, n))) return n;
  return 0;
}

std::variant<BlockReader, HarmonyReader> make_reader(const ReasoningFormat& format, bool inside) {
  if (format.kind == ReasoningFormat::Kind::kHarmony) return HarmonyReader(inside);
  return BlockReader(format.label, inside);
}

}  // namespace

const ReasoningTag* ReasoningFormat::find(TokenId id) const {
  if (id < 0) return nullptr;
  for (const ReasoningTag& tag : tags)
    if (tag.id == id) return &tag;
  return nullptr;
}

const ReasoningTag* ReasoningFormat::find(Role role) const {
  for (const ReasoningTag& tag : tags)
    if (tag.role == role) return &tag;
  return nullptr;
}

bool ReasoningFormat::begins_inside(std::string_view prompt, std::string_view begun) const {
  if (kind == Kind::kHarmony)
    return end_of_last(begun, "<|channel|>analysis<|message|>") > end_of_last(begun, "<|end|>");
  const std::string open = find(Role::kOpen)->text, &close = find(Role::kClose)->text;
  const std::string_view end = trim_end(prompt);
  bool inside = end.ends_with(trim_end(open + label)) || (always_starts && !end.ends_with(close));
  const size_t opened = end_of_last(begun, open), closed = end_of_last(begun, close);
  if (opened != closed) inside = opened > closed;
  return inside;
}

ReasoningParser::ReasoningParser(std::shared_ptr<const ReasoningFormat> format, bool inside)
    : format_(std::move(format)), reader_(make_reader(*format_, inside)) {
  for (const ReasoningTag& tag : format_->tags)
    if (tag.id < 0) spelled_.push_back(&tag);
}

void ReasoningParser::push_text(std::string_view piece, ReasoningSplit& out) {
  if (spelled_.empty()) return emit(piece, out);
  held_ += piece;
  scan(out);
}

void ReasoningParser::push_tag(const ReasoningTag& tag, bool shown, ReasoningSplit& out) {
  emit(std::exchange(held_, {}), out);
  hand_over(tag, /*certain=*/true, shown, out);
}

void ReasoningParser::finish(ReasoningSplit& out) {
  emit(std::exchange(held_, {}), out);
  std::visit([&](auto& reader) { reader.finish(out); }, reader_);
}

bool ReasoningParser::inside() const {
  return std::visit([](const auto& reader) { return reader.inside(); }, reader_);
}

void ReasoningParser::emit(std::string_view text, ReasoningSplit& out) {
  if (!text.empty()) std::visit([&](auto& reader) { reader.text(text, out); }, reader_);
}

void ReasoningParser::hand_over(const ReasoningTag& tag, bool certain, bool shown, ReasoningSplit& out) {
  if (auto* blocks = std::get_if<BlockReader>(&reader_))
    blocks->tag(tag, certain, shown, out);
  else
    std::get<HarmonyReader>(reader_).tag(tag, out);
}

// Tags in held_, from left to right. No tag is the beginning of another, so at most one begins at a place.
void ReasoningParser::scan(ReasoningSplit& out) {
  const std::string text = std::exchange(held_, {});
  std::string_view rest = text;
  for (size_t at = 0; at < rest.size();) {
    const ReasoningTag* found = nullptr;
    for (const ReasoningTag* tag : spelled_)
      if (rest.substr(at).starts_with(tag->text)) found = tag;
    if (!found) {
      ++at;
      continue;
    }
    emit(rest.substr(0, at), out);
    rest.remove_prefix(at + found->text.size());
    at = 0;
    hand_over(*found, /*certain=*/false, /*shown=*/true, out);
  }
  size_t hold = 0;
  for (const ReasoningTag* tag : spelled_) hold = std::max(hold, beginning_at_end(rest, tag->text));
  emit(rest.substr(0, rest.size() - hold), out);
  held_ = rest.substr(rest.size() - hold);
}

}  // namespace xylem
