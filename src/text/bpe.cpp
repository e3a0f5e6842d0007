#include "text/bpe.h"

#include <cstdio>

#include "text/tokenizer_bytes.h"
#include "text/utf8.h"

namespace xylem {
namespace {

constexpr size_t kPlane = 0x10000;
constexpr int kCrossingBits = 20;

uint32_t crossing_bit(char32_t before, char32_t after) {
  const uint64_t h = (static_cast<uint64_t>(before) << 21 | after) * 0x9E3779B97F4A7C15ull;
  return static_cast<uint32_t>(h >> (64 - kCrossingBits));
}

Error bad_merge(uint32_t rank, const std::string& why) {
  return invalid("tokenizer.json: merge " + std::to_string(rank) + " " + why + ".");
}

}  // namespace

Result<Bpe> Bpe::parse(tokenizer_json::Json model) {
  using namespace tokenizer_json;
  constexpr std::string_view kWhere = "model";
  TRY(const std::string type, string_or(model, "type", kWhere, "BPE"));
  if (type != "BPE") return unsupported("tokenizer.json: the model '" + type + "' is not supported; only BPE is.");
  if (const Member dropout = member(model, "dropout"); dropout.set) {
    double p = 0;
    if (dropout.value.get_double().get(p) != simdjson::SUCCESS || p != 0) {
      return unsupported("tokenizer.json: model.dropout makes encoding random; set it to null.");
    }
  }
  Bpe bpe;
  TRY(bpe.prefix_, string_or(model, "continuing_subword_prefix", kWhere, ""));
  TRY(bpe.suffix_, string_or(model, "end_of_word_suffix", kWhere, ""));
  TRY(bpe.fuse_unknown_, bool_or(model, "fuse_unk", kWhere, false));
  TRY(bpe.byte_fallback_, bool_or(model, "byte_fallback", kWhere, false));
  TRY(bpe.ignore_merges_, bool_or(model, "ignore_merges", kWhere, false));
  bpe.has_unknown_ = member(model, "unk_token").set;
  TRY(bpe.unknown_token_, string_or(model, "unk_token", kWhere, ""));
  TRY_VOID(bpe.read_vocabulary(model));
  TRY_VOID(bpe.read_merges(model));
  if (bpe.has_unknown_) bpe.unknown_ = bpe.vocabulary_.find(bpe.unknown_token_).value_or(-1);
  bpe.index_letters();
  bpe.index_crossings();
  return bpe;
}

Status Bpe::read_vocabulary(tokenizer_json::Json model) {
  simdjson::dom::object vocabulary;
  const auto m = tokenizer_json::member(model, "vocab");
  if (!m.set || m.value.get_object().get(vocabulary) != simdjson::SUCCESS) {
    return invalid("tokenizer.json: model.vocab must be an object.");
  }
  vocabulary_.reserve(vocabulary.size());
  for (const auto field : vocabulary) {
    int64_t id = 0;
    if (field.value.get_int64().get(id) != simdjson::SUCCESS) {
      return invalid("tokenizer.json: the id of token '" + std::string(field.key) + "' must be an integer.");
    }
    TRY_VOID(vocabulary_.insert(field.key, id));
  }
  return {};
}

Status Bpe::read_merges(tokenizer_json::Json model) {
  TRY(const auto merges, tokenizer_json::array_of(model, "merges", "model"));
  merges_.reserve(merges.size());
  uint32_t rank = 0;
  std::string buffer;
  for (const tokenizer_json::Json entry : merges) {
    std::string_view line, left, right;
    simdjson::dom::array pair;
    if (entry.get_string().get(line) == simdjson::SUCCESS) {
      if (line.starts_with("#version")) continue;
      const size_t space = line.find(' ');
      if (space == line.npos || line.find(' ', space + 1) != line.npos) return bad_merge(rank, "must be two tokens");
      left = line.substr(0, space);
      right = line.substr(space + 1);
    } else if (entry.get_array().get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
               pair.at(0).get_string().get(left) != simdjson::SUCCESS ||
               pair.at(1).get_string().get(right) != simdjson::SUCCESS) {
      return bad_merge(rank, "must be two tokens");
    }
    TRY_VOID(add_merge(left, right, rank, buffer));
    ++rank;
  }
  return {};
}

Status Bpe::add_merge(std::string_view left, std::string_view right, uint32_t rank, std::string& buffer) {
  const auto unknown = [&](std::string_view t) {
    return bad_merge(rank, "needs the token '" + std::string(t) + "', which is not in the vocabulary");
  };
  const auto a = vocabulary_.find(left);
  if (!a) return unknown(left);
  const auto b = vocabulary_.find(right);
  if (!b) return unknown(right);
  if (right.size() < prefix_.size())
    return bad_merge(rank, "has a second token shorter than continuing_subword_prefix");
  buffer.assign(left).append(right.substr(prefix_.size()));
  const auto merged = vocabulary_.find(buffer);
  if (!merged) return unknown(buffer);
  merges_.insert(*a, *b, rank, *merged);
  return {};
}

void Bpe::index_letters() {
  all_bytes_ = true;
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    fallback_ids_[b] = vocabulary_.find(name).value_or(-1);
    const char byte = static_cast<char>(b);
    byte_ids_[b] = vocabulary_.find(byte_alphabet::spell({&byte, 1})).value_or(-1);
    all_bytes_ &= byte_ids_[b] >= 0;
  }
  letter_ids_.assign(kPlane, -1);
  for (TokenId id = 0; id < vocabulary_.end_id(); ++id) {
    const std::string_view token = vocabulary_.spelling(id);
    if (token.empty() || token.size() > 3) continue;
    const utf8::Char c = utf8::decode(token.data());
    if (c.bytes == static_cast<int>(token.size())) letter_ids_[c.code] = id;
  }
}

// Only where every letter becomes symbols whose spelling is the letter, or bytes that no rule merges.
void Bpe::index_crossings() {
  if (!byte_fallback_ || !prefix_.empty() || !suffix_.empty()) return;
  std::vector<bool> is_fallback(vocabulary_.end_id());
  for (const TokenId id : fallback_ids_) {
    if (id < 0) return;
    is_fallback[id] = true;
  }
  std::vector<bool> done(vocabulary_.end_id());
  std::vector<uint64_t> bits((size_t{1} << kCrossingBits) / 64);
  bool bytes_merge = false;
  merges_.for_each([&](TokenId left, TokenId right, TokenId merged) {
    bytes_merge |= is_fallback[left] || is_fallback[right];
    if (done[merged]) return;
    done[merged] = true;
    const std::string_view token = vocabulary_.spelling(merged);
    char32_t before = 0;
    for (size_t i = 0; i < token.size();) {
      const utf8::Char c = utf8::decode(token.data() + i);
      if (i > 0) {
        const uint32_t bit = crossing_bit(before, c.code);
        bits[bit / 64] |= uint64_t{1} << bit % 64;
      }
      before = c.code;
      i += c.bytes;
    }
  });
  if (!bytes_merge) crossings_ = std::move(bits);
}

bool Bpe::may_cross(char32_t before, char32_t after) const {
  if (crossings_.empty()) return true;
  const uint32_t bit = crossing_bit(before, after);
  return crossings_[bit / 64] >> bit % 64 & 1;
}

Status Bpe::encode(std::string_view piece, bool spelled, BpeScratch& scratch, std::vector<TokenId>& out) const {
  if (piece.empty()) return {};
  std::string letters;
  const bool by_letter = !spelled && (!all_bytes_ || !prefix_.empty() || !suffix_.empty());
  if (!spelled && (by_letter || ignore_merges_)) letters = byte_alphabet::spell(piece);
  const std::string_view text = spelled ? piece : letters;
  if (ignore_merges_) {
    if (const auto id = vocabulary_.find(text)) {
      out.push_back(*id);
      return {};
    }
  }
  if (!prefix_.empty() || !suffix_.empty()) return encode_affixed(text, scratch, out);
  if (spelled || by_letter) return encode_letters(text, scratch, out);
  scratch.symbols.clear();
  for (const char b : piece) scratch.symbols.push_back(byte_ids_[static_cast<unsigned char>(b)]);
  merge(scratch, out);
  return {};
}

void Bpe::merge(BpeScratch& scratch, std::vector<TokenId>& out) const {
  merges_.apply(scratch);
  out.insert(out.end(), scratch.symbols.begin(), scratch.symbols.end());
  scratch.symbols.clear();
}

TokenId Bpe::letter_id(char32_t code, std::string_view letter) const {
  return code < kPlane ? letter_ids_[code] : vocabulary_.find(letter).value_or(-1);
}

Status Bpe::encode_letters(std::string_view text, BpeScratch& scratch, std::vector<TokenId>& out) const {
  scratch.symbols.clear();
  bool unknown = false;
  char32_t before = 0;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::decode(text.data() + i);
    const std::string_view letter = text.substr(i, c.bytes);
    if (i > 0 && !may_cross(before, c.code)) merge(scratch, out);
    const TokenId id = letter_id(c.code, letter);
    if (id >= 0) {
      if (unknown) scratch.symbols.push_back(unknown_);
      unknown = false;
      scratch.symbols.push_back(id);
    } else {
      TRY_VOID(add_unknown(letter, unknown, scratch));
    }
    before = c.code;
    i += c.bytes;
  }
  if (unknown) scratch.symbols.push_back(unknown_);
  merge(scratch, out);
  return {};
}

// As encode_letters, with every letter but the first prefixed and the last suffixed.
Status Bpe::encode_affixed(std::string_view text, BpeScratch& scratch, std::vector<TokenId>& out) const {
  scratch.symbols.clear();
  bool unknown = false;
  for (size_t i = 0; i < text.size();) {
    const size_t end = i + utf8::decode(text.data() + i).bytes;
    std::string letter = i > 0 ? prefix_ : "";
    letter += text.substr(i, end - i);
    if (end == text.size()) letter += suffix_;
    if (const auto id = vocabulary_.find(letter)) {
      if (unknown) scratch.symbols.push_back(unknown_);
      unknown = false;
      scratch.symbols.push_back(*id);
    } else {
      TRY_VOID(add_unknown(letter, unknown, scratch));
    }
    i = end;
  }
  if (unknown) scratch.symbols.push_back(unknown_);
  merge(scratch, out);
  return {};
}

// unknown: an unknown token waits to be added (so that the next one may join it).
Status Bpe::add_unknown(std::string_view letter, bool& unknown, BpeScratch& scratch) const {
  if (byte_fallback_ && add_fallback(letter, scratch)) return {};
  if (!has_unknown_) return {};  // the letter vanishes
  if (unknown_ < 0) {
    return invalid("The tokenizer knows no token for '" + std::string(letter) + "', and its unk_token '" +
                   unknown_token_ + "' is not in its vocabulary.");
  }
  if (unknown && !fuse_unknown_) scratch.symbols.push_back(unknown_);
  unknown = true;
  return {};
}

bool Bpe::add_fallback(std::string_view letter, BpeScratch& scratch) const {
  for (const char b : letter) {
    if (fallback_ids_[static_cast<unsigned char>(b)] < 0) return false;
  }
  for (const char b : letter) scratch.symbols.push_back(fallback_ids_[static_cast<unsigned char>(b)]);
  return true;
}

}  // namespace xylem
