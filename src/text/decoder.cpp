#include "text/decoder.h"

#include <utility>

#include "text/tokenizer_bytes.h"
#include "text/utf8.h"

namespace xylem {
namespace {

constexpr std::string_view kWhere = "decoder";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The value of "<0xHH>"; -1 for any other token.
int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex_digit(token[3]), low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

Result<std::string> one_character(tokenizer_json::Json json, std::string_view key) {
  TRY(std::string c, tokenizer_json::string_of(json, key, kWhere));
  if (c.empty() || utf8::scan(c).bytes != c.size()) {
    return invalid("tokenizer.json: decoder." + std::string(key) + " must be one character.");
  }
  return c;
}

std::string replace_literal(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from)) {
    out.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return out.append(text);
}

}  // namespace

Decoder::Decoder() : steps_{{.kind = Kind::kJoin}} {}

Result<Decoder> Decoder::parse(tokenizer_json::Json json) {
  Decoder d;
  d.steps_.clear();
  TRY_VOID(tokenizer_json::for_each_step(json, "decoders", kWhere,
                                         [&](auto step, const std::string& type) { return d.add(step, type); }));
  bool fused = false;
  for (Step& step : d.steps_) {
    step.fused = fused;
    fused |= step.kind == Kind::kFuse || step.kind == Kind::kByteLevel;
  }
  return d;
}

Status Decoder::add(tokenizer_json::Json json, const std::string& type) {
  if (type == "Strip") return add_strip(json);
  if (type == "Metaspace") return add_metaspace(json);
  Step step{};
  if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    TRY(step.pattern, Pattern::parse(json, kWhere));
    TRY(step.content, tokenizer_json::string_of(json, "content", kWhere));
  } else if (type == "BPEDecoder") {
    step.kind = Kind::kBpe;
    TRY(step.content, tokenizer_json::string_of(json, "suffix", kWhere));
    if (step.content.empty()) return unsupported("tokenizer.json: decoder.suffix is empty.");
  } else {
    return unsupported("tokenizer.json: the decoder '" + type + "' is not supported.");
  }
  steps_.push_back(std::move(step));
  return {};
}

Status Decoder::add_strip(tokenizer_json::Json json) {
  constexpr int64_t kMax = 1 << 20;
  Step step{.kind = Kind::kStrip};
  TRY(step.content, one_character(json, "content"));
  TRY(const int64_t start, tokenizer_json::int_of(json, "start", kWhere, 0, kMax));
  TRY(const int64_t stop, tokenizer_json::int_of(json, "stop", kWhere, 0, kMax));
  step.start = static_cast<size_t>(start);
  step.stop = static_cast<size_t>(stop);
  steps_.push_back(std::move(step));
  return {};
}

Status Decoder::add_metaspace(tokenizer_json::Json json) {
  Step step{.kind = Kind::kMetaspace};
  TRY(step.content, one_character(json, "replacement"));
  TRY(const std::string scheme, tokenizer_json::string_or(json, "prepend_scheme", kWhere, "always"));
  TRY(const bool add_prefix, tokenizer_json::bool_or(json, "add_prefix_space", kWhere, true));
  step.drop_first = scheme != "never" && add_prefix;
  steps_.push_back(std::move(step));
  return {};
}

DecoderStream::DecoderStream(const Decoder& decoder) : decoder_(&decoder), states_(decoder.steps_.size()) {}

void DecoderStream::push(std::string_view token, std::string& out) { feed(0, token, out); }
void DecoderStream::finish(std::string& out) { end(0, out); }

void DecoderStream::feed(size_t i, std::string_view token, std::string& out) {
  using Kind = Decoder::Kind;
  if (i == states_.size()) {
    out += token;
    return;
  }
  const Step& step = decoder_->steps_[i];
  State& state = states_[i];
  if (step.kind == Kind::kFuse) return feed(i + 1, token, out);
  if (step.fused) {
    if (step.kind == Kind::kStrip) return feed_strip(i, token, out);
    state.held += token;  // needs the whole text
    return;
  }
  switch (step.kind) {
    case Kind::kByteLevel:
      return feed_byte_level(i, token, out);
    case Kind::kByteFallback:
      return feed_byte_fallback(i, token, out);
    case Kind::kBpe:
      return feed_bpe(i, token, out);
    case Kind::kJoin:
      if (std::exchange(state.begun, true)) out += ' ';
      return feed(i + 1, token, out);
    default:
      return feed(i + 1, whole(step, token, !std::exchange(state.begun, true), false), out);
  }
}

void DecoderStream::end(size_t i, std::string& out) {
  using Kind = Decoder::Kind;
  if (i == states_.size()) return;
  const Step& step = decoder_->steps_[i];
  State& state = states_[i];
  if (step.fused) {
    if (step.kind != Kind::kFuse && step.kind != Kind::kStrip) feed(i + 1, whole(step, state.held, true, true), out);
  } else if (step.kind == Kind::kByteLevel) {
    if (!state.held.empty() && state.foreign_bytes == 0) feed(i + 1, utf8::kReplacement, out);
  } else if (step.kind == Kind::kByteFallback) {
    flush_bytes(i, out);
  } else if (step.kind == Kind::kBpe && state.begun) {
    feed(i + 1, whole(step, state.held, false, true), out);
  }
  state.held.clear();
  end(i + 1, out);
}

void DecoderStream::settle() {
  using Kind = Decoder::Kind;
  for (size_t i = 0; i < states_.size(); ++i) {
    State& state = states_[i];
    std::string shown;
    const size_t used = utf8::append_lossy(shown, state.held);
    const Kind kind = decoder_->steps_[i].kind;
    if (kind == Kind::kBpe) state.begun = false;
    if (kind == Kind::kByteLevel || kind == Kind::kByteFallback) {
      state.held.erase(0, used);
    } else {
      state.held.clear();
    }
    state.foreign_bytes = state.held.size();
  }
}

void DecoderStream::feed_byte_level(size_t i, std::string_view token, std::string& out) {
  State& state = states_[i];
  state.held += byte_alphabet::bytes_of(token);
  if (state.held.empty()) return;
  if (state.foreign_bytes > 0) {
    const utf8::Scan first = utf8::scan(state.held);
    if (first.form == utf8::Form::kIncomplete) return;
    if (first.form == utf8::Form::kInvalid) state.held.erase(0, first.bytes);
    state.foreign_bytes = 0;
  }
  std::string text;
  state.held.erase(0, utf8::append_lossy(text, state.held));
  feed(i + 1, text, out);
}

void DecoderStream::feed_byte_fallback(size_t i, std::string_view token, std::string& out) {
  const int byte = fallback_byte(token);
  if (byte >= 0) {
    // The bytes of a run count together: one bad byte spoils all of them, so nothing is final before the run ends.
    states_[i].held += static_cast<char>(byte);
    return;
  }
  flush_bytes(i, out);
  feed(i + 1, token, out);
}

void DecoderStream::flush_bytes(size_t i, std::string& out) {
  State& state = states_[i];
  const std::string bytes = std::exchange(state.held, {});
  const size_t foreign = std::exchange(state.foreign_bytes, 0);
  if (bytes.empty()) return;
  if (utf8::valid(bytes)) return feed(i + 1, bytes, out);
  for (size_t k = foreign; k < bytes.size(); ++k) feed(i + 1, utf8::kReplacement, out);
}

void DecoderStream::feed_strip(size_t i, std::string_view fragment, std::string& out) {
  const Step& step = decoder_->steps_[i];
  State& state = states_[i];
  while (!state.begun && !fragment.empty()) {
    if (state.cut == step.start || !fragment.starts_with(step.content)) {
      state.begun = true;
    } else {
      fragment.remove_prefix(step.content.size());
      ++state.cut;
    }
  }
  std::string text = std::exchange(state.held, {});
  text += fragment;
  size_t keep = text.size();
  for (size_t k = 0; k < step.stop && std::string_view(text).substr(0, keep).ends_with(step.content); ++k) {
    keep -= step.content.size();
  }
  state.held = text.substr(keep);
  text.resize(keep);
  if (!text.empty()) feed(i + 1, text, out);
}

// The suffix of a word is a space, but not at the very end: a token is final when the next one comes.
void DecoderStream::feed_bpe(size_t i, std::string_view token, std::string& out) {
  State& state = states_[i];
  if (state.begun) feed(i + 1, whole(decoder_->steps_[i], state.held, false, false), out);
  state.begun = true;
  state.held = token;
}

std::string DecoderStream::strip(const Step& step, std::string_view token) {
  for (size_t k = 0; k < step.start && token.starts_with(step.content); ++k) token.remove_prefix(step.content.size());
  for (size_t k = 0; k < step.stop && token.ends_with(step.content); ++k) token.remove_suffix(step.content.size());
  return std::string(token);
}

// One step on one whole token.
std::string DecoderStream::whole(const Step& step, std::string_view token, bool first, bool last) {
  using Kind = Decoder::Kind;
  std::string text(token);
  switch (step.kind) {
    case Kind::kReplace:
      if (auto replaced = replace_all(token, step.pattern, step.content, scratch_)) return *std::move(replaced);
      return text;
    case Kind::kStrip:
      return strip(step, token);
    case Kind::kMetaspace:
      return replace_literal(token, step.content, first && step.drop_first ? "" : " ");
    case Kind::kBpe:
      return replace_literal(token, step.content, last ? "" : " ");
    case Kind::kByteFallback: {
      const int byte = fallback_byte(token);
      if (byte >= 0) text = byte < 0x80 ? std::string(1, static_cast<char>(byte)) : std::string(utf8::kReplacement);
      return text;
    }
    case Kind::kByteLevel: {
      const std::string bytes = byte_alphabet::bytes_of(token);
      text.clear();
      if (utf8::append_lossy(text, bytes) < bytes.size()) text += utf8::kReplacement;
      return text;
    }
    case Kind::kFuse:
    case Kind::kJoin:
      return text;
  }
  return text;
}

}  // namespace xylem
