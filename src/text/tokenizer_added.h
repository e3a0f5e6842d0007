// The added tokens of a tokenizer.json: recognised in text before the model sees it.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/normalizer.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_vocabulary.h"

namespace xylem {

struct AddedToken {
  std::string content;
  std::string spelling;  // what it looks like in normalised text and to the decoder
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
};

// Finds, at each place from left to right, the longest of a set of strings.
class AddedTokenTrie {
 public:
  AddedTokenTrie() { roots_.fill(kNone); }
  void insert(std::string_view text, TokenId id);  // the first id of a text stays; empty texts are ignored
  bool empty() const { return nodes_.empty(); }
  // The longest string that begins at text[at]; nullopt when there is none.
  struct Match {
    TokenId id;
    size_t bytes;
  };
  std::optional<Match> match(std::string_view text, size_t at) const;

 private:
  static constexpr int32_t kNone = -1;
  struct Node {
    char byte;
    TokenId id = -1;
    int32_t child = kNone, sibling = kNone;
  };
  int32_t child_of(int32_t first, char byte) const;

  std::array<int32_t, 256> roots_;
  std::vector<Node> nodes_;
};

// Immutable after parse.
class AddedTokens {
 public:
  // Ids are given as Hugging Face gives them: that of the vocabulary, else the next free one after it.
  static Result<AddedTokens> parse(tokenizer_json::Json array, const Vocabulary& vocabulary,
                                   const Normalizer& normalizer);

  // Part of a text: an added token, or text between them (id -1).
  struct Part {
    TokenId id;
    TextRange range;
  };
  // Replaces out by the parts of text. normalized: looks for the tokens that are matched in normalised text.
  void split(std::string_view text, bool normalized, std::vector<Part>& out) const;

  const AddedToken* find(TokenId id) const;
  std::optional<TokenId> find(std::string_view content) const;
  // Would Hugging Face leave a token with this spelling out when it skips special tokens?
  bool skips(std::string_view spelling) const;
  TokenId end_id() const { return end_id_; }  // largest id + 1

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  Status add(AddedToken token, TokenId& next_id, const Vocabulary& vocabulary, const Normalizer& normalizer);

  std::unordered_map<TokenId, AddedToken> by_id_;
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> by_content_;
  std::unordered_map<std::string, bool, Hash, std::equal_to<>> special_;
  AddedTokenTrie plain_, normalized_;
  TokenId end_id_ = 0;
};

}  // namespace xylem
