// The post_processor of a tokenizer.json: puts special tokens around an encoded text.
#pragma once
#include <vector>

#include "base/token.h"
#include "text/tokenizer_json.h"

namespace xylem {

class PostProcessor {
 public:
  PostProcessor() = default;
  static Result<PostProcessor> parse(tokenizer_json::Json json);
  std::vector<TokenId> apply(std::vector<TokenId> ids, bool add_special_tokens) const;

 private:
  // The text itself, or special tokens.
  struct Item {
    bool text = false;
    std::vector<TokenId> special;
  };
  using Template = std::vector<Item>;
  Status add(tokenizer_json::Json json, const std::string& type);

  std::vector<Template> templates_;  // one after the other
};

}  // namespace xylem
