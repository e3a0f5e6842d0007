// What a Tokenizer is made of; for tokenizer.cpp and detokenizer.cpp.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_post.h"

namespace xylem {

struct Tokenizer::Impl {
  Bpe bpe;
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  Decoder decoder;
  std::map<std::string, std::string, std::less<>> roles;

  static Result<std::unique_ptr<Impl>> parse(tokenizer_json::Json root);
  // What the decoder sees of id; nullopt: nothing.
  std::optional<std::string_view> spelling(TokenId id, bool skip_special_tokens) const;
};

}  // namespace xylem
