// The normalizer of a tokenizer.json: rewrites text before it is split.
#pragma once
#include <string>
#include <vector>

#include "text/tokenizer_json.h"
#include "text/tokenizer_regex.h"

namespace xylem {

// Immutable; apply() may run on many threads, each with its own scratch.
class Normalizer {
 public:
  // A Normalizer that changes nothing.
  Normalizer() = default;
  static Result<Normalizer> parse(tokenizer_json::Json json);

  bool empty() const { return steps_.empty(); }
  // text must be valid UTF-8; it stays so.
  Status apply(std::string& text, PatternScratch& scratch) const;

 private:
  enum class Kind { kNfc, kNfd, kNfkc, kNfkd, kLowercase, kStrip, kStripAccents, kReplace, kPrepend, kByteLevel };
  struct Step {
    Kind kind;
    Pattern pattern;                   // kReplace
    std::string content;               // kReplace, kPrepend
    bool left = false, right = false;  // kStrip
  };
  Status add(tokenizer_json::Json json, const std::string& type);
  static Status apply(const Step& step, std::string& text, PatternScratch& scratch);

  std::vector<Step> steps_;
};

}  // namespace xylem
