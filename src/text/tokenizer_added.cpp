#include "text/tokenizer_added.h"

#include <algorithm>

#include "text/unicode_data.h"
#include "text/utf8.h"

namespace xylem {
namespace {

constexpr std::string_view kWhere = "added_tokens[]";

Result<AddedToken> read(tokenizer_json::Json json) {
  using namespace tokenizer_json;
  AddedToken t;
  TRY(t.content, string_of(json, "content", kWhere));
  if (auto id = int_of(json, "id", kWhere, 0, kMaxTokenId); !id) return id.error();
  TRY(t.single_word, bool_or(json, "single_word", kWhere, false));
  TRY(t.lstrip, bool_or(json, "lstrip", kWhere, false));
  TRY(t.rstrip, bool_or(json, "rstrip", kWhere, false));
  TRY(t.special, bool_or(json, "special", kWhere, false));
  TRY(t.normalized, bool_or(json, "normalized", kWhere, !t.special));
  return t;
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && unicode::is_word(utf8::decode_before(text, text.size()).code);
}
bool starts_with_word(std::string_view text) {
  return !text.empty() && unicode::is_word(utf8::decode(text.data()).code);
}

// Where the white space that ends at `end` begins, but not before `low`.
size_t space_before(std::string_view text, size_t low, size_t end) {
  while (end > low) {
    const utf8::Char c = utf8::decode_before(text, end);
    if (!unicode::is_space(c.code)) break;
    end -= c.bytes;
  }
  return end;
}

size_t space_after(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const utf8::Char c = utf8::decode(text.data() + begin);
    if (!unicode::is_space(c.code)) break;
    begin += c.bytes;
  }
  return begin;
}

}  // namespace

int32_t AddedTokenTrie::child_of(int32_t node, char byte) const {
  while (node != kNone && nodes_[node].byte != byte) node = nodes_[node].sibling;
  return node;
}

void AddedTokenTrie::insert(std::string_view text, TokenId id) {
  int32_t node = kNone;
  for (const char byte : text) {
    const auto first = [&]() -> int32_t& {
      return node == kNone ? roots_[static_cast<unsigned char>(byte)] : nodes_[node].child;
    };
    int32_t next = child_of(first(), byte);
    if (next == kNone) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({.byte = byte, .sibling = first()});
      first() = next;
    }
    node = next;
  }
  if (node != kNone && nodes_[node].id < 0) nodes_[node].id = id;
}

std::optional<AddedTokenTrie::Match> AddedTokenTrie::match(std::string_view text, size_t at) const {
  std::optional<Match> best;
  int32_t node = roots_[static_cast<unsigned char>(text[at])];
  for (size_t i = at; node != kNone; node = child_of(nodes_[node].child, text[i])) {
    ++i;
    if (nodes_[node].id >= 0) best = {nodes_[node].id, i - at};
    if (i == text.size()) break;
  }
  return best;
}

Result<AddedTokens> AddedTokens::parse(tokenizer_json::Json json, const Vocabulary& vocabulary,
                                       const Normalizer& normalizer) {
  AddedTokens added;
  simdjson::dom::array array;
  if (json.get_array().get(array) != simdjson::SUCCESS)
    return invalid("tokenizer.json: added_tokens must be an array.");
  auto next_id = static_cast<TokenId>(vocabulary.size());
  for (const auto entry : array) {
    TRY(AddedToken token, read(entry));
    TRY_VOID(added.add(std::move(token), next_id, vocabulary, normalizer));
  }
  for (const auto& [id, token] : added.by_id_) {
    (token.normalized ? added.normalized_ : added.plain_).insert(token.spelling, id);
    added.end_id_ = std::max(added.end_id_, id + 1);
  }
  return added;
}

Status AddedTokens::add(AddedToken token, TokenId& next_id, const Vocabulary& vocabulary,
                        const Normalizer& normalizer) {
  if (token.content.empty()) return {};
  std::optional<TokenId> id = find(token.content);
  if (!id) id = vocabulary.find(token.content);
  if (!id) id = next_id++;
  if (*id > kMaxTokenId) return invalid("tokenizer.json: there are too many tokens.");
  token.spelling = token.content;
  if (token.normalized) {
    PatternScratch scratch;
    TRY_VOID(normalizer.apply(token.spelling, scratch));
  }
  by_content_[token.content] = *id;
  if (token.special) special_[token.content] = true;
  by_id_[*id] = std::move(token);
  return {};
}

void AddedTokens::split(std::string_view text, bool normalized, std::vector<Part>& out) const {
  out.clear();
  const AddedTokenTrie& trie = normalized ? normalized_ : plain_;
  size_t done = 0;
  for (size_t i = 0; !trie.empty() && i < text.size();) {
    const auto match = trie.match(text, i);
    if (!match) {
      ++i;
      continue;
    }
    const AddedToken& token = by_id_.at(match->id);
    size_t begin = i, end = i + match->bytes;
    i = end;
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token.lstrip) begin = std::max(done, space_before(text, std::min(done, begin), begin));
    if (token.rstrip) end = space_after(text, end);
    if (done < begin) out.push_back({-1, {done, begin}});
    if (begin < end) out.push_back({match->id, {begin, end}});
    done = end;
  }
  if (done < text.size()) out.push_back({-1, {done, text.size()}});
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &it->second;
}

std::optional<TokenId> AddedTokens::find(std::string_view content) const {
  const auto it = by_content_.find(content);
  if (it == by_content_.end()) return std::nullopt;
  return it->second;
}

bool AddedTokens::skips(std::string_view spelling) const { return special_.find(spelling) != special_.end(); }

}  // namespace xylem
