// Patterns of tokenizer.json: a literal string or a regular expression (PCRE2 with JIT, matching as Oniguruma would).
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_json.h"

struct pcre2_real_code_8;

namespace xylem {

// Byte positions in some text.
struct TextRange {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
};

// What one thread needs to run patterns; reusable for any pattern. Cheap until a regular expression runs.
class PatternScratch {
 public:
  PatternScratch();
  ~PatternScratch();
  PatternScratch(PatternScratch&&) noexcept;
  PatternScratch& operator=(PatternScratch&&) noexcept;

 private:
  friend class Pattern;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Immutable; find_all may run on many threads, each with its own scratch.
class Pattern {
 public:
  static Pattern literal(std::string text);  // not empty
  static Result<Pattern> regex(std::string_view onig);
  // The member "pattern" of object: {"String": s} or {"Regex": r}.
  static Result<Pattern> parse(tokenizer_json::Json object, std::string_view where);

  // Replaces out by all matches in text (valid UTF-8) from left to right; some may be empty.
  Status find_all(std::string_view text, PatternScratch& scratch, std::vector<TextRange>& out) const;

 private:
  std::string literal_;
  std::shared_ptr<pcre2_real_code_8> code_;
  bool jit_ = false;
};

// text with every match replaced by content.
Result<std::string> replace_all(std::string_view text, const Pattern& pattern, std::string_view content,
                                PatternScratch& scratch);

}  // namespace xylem
