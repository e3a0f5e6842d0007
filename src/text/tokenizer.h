// tokenizer.json as Hugging Face `tokenizers` reads it: text -> ids -> text, id by id the same.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace xylem {

// Immutable after load; every method may be called from any number of threads.
class Tokenizer {
 public:
  // folder holds tokenizer.json (or tokenizer.json.xz) and, optionally, tokenizer_config.json (special tokens by role).
  static Result<std::shared_ptr<const Tokenizer>> load(const std::string& folder);
  // json: the text of a tokenizer.json.
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view json);
  ~Tokenizer();

  // Added tokens inside text are recognised as in Hugging Face. add_special_tokens applies the post-processor (BOS
  // ...). Text that is not valid UTF-8 is an error.
  Result<std::vector<TokenId>> encode(std::string_view text, bool add_special_tokens) const;
  // Ids outside the vocabulary are skipped. The result is valid UTF-8 (U+FFFD where bytes do not form a character).
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  int64_t vocab_size() const;           // largest id + 1
  bool is_special(TokenId id) const;    // an added token marked special
  std::string token(TokenId id) const;  // vocabulary spelling, e.g. "▁the"; empty if there is none
  std::optional<TokenId> id(std::string_view token) const;
  // Special tokens by role from tokenizer_config.json ("bos_token", "eos_token", "pad_token", ...): spelling, empty if
  // unset.
  std::string role(std::string_view name) const;

  struct Impl;

 private:
  friend class Detokenizer;
  Tokenizer();
  std::unique_ptr<Impl> impl_;
};

// Incremental detokenisation of one stream: emits text as soon as it can no longer change, never half a UTF-8
// character. Without a prompt the concatenation of everything emitted equals decode(all ids); with one, decode(prompt +
// ids) without what decode(prompt) gives. Each push costs in proportion to its token, however long the stream. One
// thread at a time.
class Detokenizer {
 public:
  // prompt_tail: the last ids of the prompt (a handful is enough), so that a leading space is right.
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, std::span<const TokenId> prompt_tail,
              bool skip_special_tokens);
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;
  ~Detokenizer();
  std::string push(TokenId id);  // text that became final
  std::string finish();          // what was held back (an incomplete character becomes U+FFFD); the stream is over

 private:
  struct Stream;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace xylem
