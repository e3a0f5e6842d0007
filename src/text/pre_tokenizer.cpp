#include "text/pre_tokenizer.h"

#include <utility>

#include "text/tokenizer_bytes.h"
#include "text/unicode_data.h"
#include "text/utf8.h"

namespace xylem {
namespace {

constexpr std::string_view kWhere = "pre_tokenizer";
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void find_numeric(std::string_view text, std::vector<TextRange>& out) {
  out.clear();
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::decode(text.data() + i);
    if (unicode::is_numeric(c.code)) out.push_back({i, i + c.bytes});
    i += c.bytes;
  }
}

}  // namespace

void PieceList::reset(std::string_view stretch, bool begins_input) {
  text = stretch;
  at_start = begins_input;
  pieces.clear();
  if (!stretch.empty()) pieces.push_back({0, stretch.size()});
}

Result<PreTokenizer> PreTokenizer::parse(tokenizer_json::Json json) {
  PreTokenizer p;
  TRY_VOID(tokenizer_json::for_each_step(json, "pretokenizers", kWhere,
                                         [&](auto step, const std::string& type) { return p.add(step, type); }));
  // Spelling every byte out is the costliest way to say "look bytes up", so the last step leaves that to the model.
  if (!p.steps_.empty() && p.steps_.back().kind == Kind::kSpellBytes) {
    p.steps_.pop_back();
    p.gives_bytes_ = true;
  }
  return p;
}

Status PreTokenizer::add(tokenizer_json::Json json, const std::string& type) {
  if (type == "ByteLevel") return add_byte_level(json);
  if (type == "Split") return add_split(json);
  if (type == "Metaspace") return add_metaspace(json);
  if (type != "Digits") return unsupported("tokenizer.json: the pre_tokenizer '" + type + "' is not supported.");
  TRY(const bool individual, tokenizer_json::bool_of(json, "individual_digits", kWhere));
  steps_.push_back({.kind = Kind::kDigits, .behavior = individual ? Behavior::kIsolated : Behavior::kContiguous});
  return {};
}

Status PreTokenizer::add_byte_level(tokenizer_json::Json json) {
  TRY(const bool prefix_space, tokenizer_json::bool_of(json, "add_prefix_space", kWhere));
  TRY(const bool use_regex, tokenizer_json::bool_or(json, "use_regex", kWhere, true));
  if (prefix_space) steps_.push_back({.kind = Kind::kPrefixSpace});
  if (use_regex) {
    TRY(Pattern gpt2, Pattern::regex(kGpt2));
    steps_.push_back({.kind = Kind::kSplit, .pattern = std::move(gpt2)});
  }
  steps_.push_back({.kind = Kind::kSpellBytes});
  return {};
}

Status PreTokenizer::add_split(tokenizer_json::Json json) {
  static constexpr std::pair<std::string_view, Behavior> kNames[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  Step step{.kind = Kind::kSplit};
  TRY(step.pattern, Pattern::parse(json, kWhere));
  TRY(step.invert, tokenizer_json::bool_of(json, "invert", kWhere));
  TRY(const std::string name, tokenizer_json::string_of(json, "behavior", kWhere));
  for (const auto& [known, behavior] : kNames) {
    if (known != name) continue;
    step.behavior = behavior;
    steps_.push_back(std::move(step));
    return {};
  }
  return unsupported("tokenizer.json: pre_tokenizer.behavior '" + name + "' is not supported.");
}

Status PreTokenizer::add_metaspace(tokenizer_json::Json json) {
  Step step{.kind = Kind::kMetaspace};
  TRY(step.meta, tokenizer_json::string_of(json, "replacement", kWhere));
  if (step.meta.empty() || utf8::scan(step.meta).bytes != step.meta.size()) {
    return invalid("tokenizer.json: pre_tokenizer.replacement must be one character.");
  }
  TRY(const std::string scheme, tokenizer_json::string_or(json, "prepend_scheme", kWhere, "always"));
  TRY(const bool add_prefix, tokenizer_json::bool_or(json, "add_prefix_space", kWhere, true));
  if (scheme == "never" || !add_prefix)
    step.prepend = Prepend::kNever;
  else if (scheme == "first")
    step.prepend = Prepend::kFirst;
  else if (scheme != "always")
    return invalid("tokenizer.json: pre_tokenizer.prepend_scheme '" + scheme + "' is unknown.");
  TRY(const bool split, tokenizer_json::bool_or(json, "split", kWhere, true));
  Pattern meta = Pattern::literal(step.meta);
  steps_.push_back(std::move(step));
  if (split) {
    steps_.push_back({.kind = Kind::kSplit, .pattern = std::move(meta), .behavior = Behavior::kMergedWithNext});
  }
  return {};
}

Status PreTokenizer::run(PieceList& list, PatternScratch& scratch) const {
  for (const Step& step : steps_) {
    if (step.kind == Kind::kSplit || step.kind == Kind::kDigits) {
      TRY_VOID(split(step, list, scratch));
    } else {
      rewrite(step, list);
    }
  }
  return {};
}

Status PreTokenizer::split(const Step& step, PieceList& list, PatternScratch& scratch) {
  list.next_pieces.clear();
  for (size_t i = 0; i < list.pieces.size(); ++i) {
    if (step.kind == Kind::kDigits) {
      find_numeric(list[i], list.matches);
    } else {
      TRY_VOID(step.pattern.find_all(list[i], scratch, list.matches));
    }
    cut(list.pieces[i], list.matches, step.behavior, step.invert, list.next_pieces);
  }
  std::swap(list.pieces, list.next_pieces);
  return {};
}

// Matches and the gaps between them, as pieces; empty ones take part in merging but are not kept.
void PreTokenizer::cut(TextRange piece, const std::vector<TextRange>& matches, Behavior behavior, bool invert,
                       std::vector<TextRange>& out) {
  const size_t first = out.size();
  bool previous_match = false;
  bool open_to_next = false;  // kMergedWithNext: the last piece is a match that waits for what follows
  auto take = [&](size_t begin, size_t end, bool is_match) {
    is_match ^= invert;
    const TextRange part{piece.begin + begin, piece.begin + end};
    const bool has_last = out.size() > first;
    switch (behavior) {
      case Behavior::kIsolated:
        out.push_back(part);
        break;
      case Behavior::kRemoved:
        if (!is_match) out.push_back(part);
        break;
      case Behavior::kContiguous:
        if (is_match == previous_match && has_last)
          out.back().end = part.end;
        else
          out.push_back(part);
        break;
      case Behavior::kMergedWithPrevious:
        if (is_match && !previous_match && has_last)
          out.back().end = part.end;
        else
          out.push_back(part);
        break;
      case Behavior::kMergedWithNext:
        if (open_to_next && !is_match)
          out.back().end = part.end;
        else
          out.push_back(part);
        open_to_next = is_match;
        break;
    }
    previous_match = is_match;
  };
  size_t done = 0;
  for (const TextRange& m : matches) {
    if (done != m.begin) take(done, m.begin, false);
    take(m.begin, m.end, true);
    done = m.end;
  }
  if (done != piece.size()) take(done, piece.size(), false);
  size_t kept = first;
  for (size_t i = first; i < out.size(); ++i) {
    if (out[i].size() > 0) out[kept++] = out[i];
  }
  out.resize(kept);
}

void PreTokenizer::rewrite(const Step& step, PieceList& list) {
  list.next_buffer.clear();
  for (size_t i = 0; i < list.pieces.size(); ++i) {
    const std::string_view piece = list[i];
    const size_t begin = list.next_buffer.size();
    if (step.kind == Kind::kSpellBytes) {
      byte_alphabet::append_spelled(list.next_buffer, piece);
    } else if (step.kind == Kind::kPrefixSpace) {
      if (piece[0] != ' ') list.next_buffer += ' ';
      list.next_buffer += piece;
    } else {
      const bool wanted =
          step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && i == 0 && list.at_start);
      if (wanted && piece[0] != ' ' && !piece.starts_with(step.meta)) list.next_buffer += step.meta;
      for (const char c : piece) {
        if (c == ' ')
          list.next_buffer += step.meta;
        else
          list.next_buffer += c;
      }
    }
    list.pieces[i] = {begin, list.next_buffer.size()};
  }
  std::swap(list.buffer, list.next_buffer);
  list.text = list.buffer;
}

}  // namespace xylem
