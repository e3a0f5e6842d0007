#include "text/normalizer.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer_bytes.h"
#include "text/unicode_data.h"
#include "text/unicode_normalize.h"
#include "text/utf8.h"

namespace xylem {
namespace {

constexpr std::string_view kWhere = "normalizer";

std::string strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const utf8::Char c = utf8::decode(text.data());
    if (!unicode::is_space(c.code)) break;
    text.remove_prefix(c.bytes);
  }
  while (right && !text.empty()) {
    const utf8::Char c = utf8::decode_before(text, text.size());
    if (!unicode::is_space(c.code)) break;
    text.remove_suffix(c.bytes);
  }
  return std::string(text);
}

std::string strip_accents(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::decode(text.data() + i);
    if (!unicode::is_accent(c.code)) out.append(text, i, c.bytes);
    i += c.bytes;
  }
  return out;
}

}  // namespace

Result<Normalizer> Normalizer::parse(tokenizer_json::Json json) {
  Normalizer n;
  TRY_VOID(tokenizer_json::for_each_step(json, "normalizers", kWhere,
                                         [&](auto step, const std::string& type) { return n.add(step, type); }));
  return n;
}

Status Normalizer::add(tokenizer_json::Json json, const std::string& type) {
  static constexpr std::pair<std::string_view, Kind> kPlain[] = {{"NFC", Kind::kNfc},
                                                                 {"NFD", Kind::kNfd},
                                                                 {"NFKC", Kind::kNfkc},
                                                                 {"NFKD", Kind::kNfkd},
                                                                 {"Lowercase", Kind::kLowercase},
                                                                 {"StripAccents", Kind::kStripAccents},
                                                                 {"ByteLevel", Kind::kByteLevel}};
  Step step{};
  if (type == "Replace") {
    step.kind = Kind::kReplace;
    TRY(step.pattern, Pattern::parse(json, kWhere));
    TRY(step.content, tokenizer_json::string_of(json, "content", kWhere));
  } else if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    TRY(step.content, tokenizer_json::string_of(json, "prepend", kWhere));
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    TRY(step.left, tokenizer_json::bool_of(json, "strip_left", kWhere));
    TRY(step.right, tokenizer_json::bool_of(json, "strip_right", kWhere));
  } else {
    const auto* known =
        std::find_if(std::begin(kPlain), std::end(kPlain), [&](const auto& k) { return k.first == type; });
    if (known == std::end(kPlain))
      return unsupported("tokenizer.json: the normalizer '" + type + "' is not supported.");
    step.kind = known->second;
  }
  steps_.push_back(std::move(step));
  return {};
}

Status Normalizer::apply(std::string& text, PatternScratch& scratch) const {
  for (const Step& step : steps_) TRY_VOID(apply(step, text, scratch));
  return {};
}

Status Normalizer::apply(const Step& step, std::string& text, PatternScratch& scratch) {
  using unicode::NormalForm;
  switch (step.kind) {
    case Kind::kNfc:
      text = unicode::normalize(text, NormalForm::kNfc);
      break;
    case Kind::kNfd:
      text = unicode::normalize(text, NormalForm::kNfd);
      break;
    case Kind::kNfkc:
      text = unicode::normalize(text, NormalForm::kNfkc);
      break;
    case Kind::kNfkd:
      text = unicode::normalize(text, NormalForm::kNfkd);
      break;
    case Kind::kLowercase:
      text = unicode::to_lower(text);
      break;
    case Kind::kStrip:
      text = strip(text, step.left, step.right);
      break;
    case Kind::kStripAccents:
      text = strip_accents(text);
      break;
    case Kind::kByteLevel:
      text = byte_alphabet::spell(text);
      break;
    case Kind::kPrepend:
      if (!text.empty()) text.insert(0, step.content);
      break;
    case Kind::kReplace: {
      TRY(text, replace_all(text, step.pattern, step.content, scratch));
      break;
    }
  }
  return {};
}

}  // namespace xylem
