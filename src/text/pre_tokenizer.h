// The pre_tokenizer of a tokenizer.json: cuts text into the pieces that the model encodes one by one.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_json.h"
#include "text/tokenizer_regex.h"

namespace xylem {

// The pieces of one stretch of text, in order. Steps that rewrite text move it into buffers; reusable.
struct PieceList {
  std::string_view text;
  std::vector<TextRange> pieces;
  bool at_start = false;  // the stretch begins where the whole input begins

  std::string_view operator[](size_t i) const { return text.substr(pieces[i].begin, pieces[i].size()); }
  void reset(std::string_view stretch, bool begins_input);

  // Scratch of the steps.
  std::string buffer, next_buffer;
  std::vector<TextRange> next_pieces, matches;
};

// Immutable; run() may run on many threads, each with its own list and scratch.
class PreTokenizer {
 public:
  // One that leaves the text in one piece.
  PreTokenizer() = default;
  static Result<PreTokenizer> parse(tokenizer_json::Json json);

  // The last step is ByteLevel: pieces hold the plain bytes, and the model must read each byte as its character.
  bool gives_bytes() const { return gives_bytes_; }
  // Cuts the pieces of list further. No piece is empty.
  Status run(PieceList& list, PatternScratch& scratch) const;

 private:
  enum class Kind { kSplit, kPrefixSpace, kSpellBytes, kMetaspace, kDigits };
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class Prepend { kNever, kFirst, kAlways };
  struct Step {
    Kind kind;
    Pattern pattern;                          // kSplit
    Behavior behavior = Behavior::kIsolated;  // kSplit, kDigits
    bool invert = false;                      // kSplit
    std::string meta;                         // kMetaspace: what a space becomes
    Prepend prepend = Prepend::kAlways;       // kMetaspace
  };
  Status add(tokenizer_json::Json json, const std::string& type);
  Status add_byte_level(tokenizer_json::Json json);
  Status add_split(tokenizer_json::Json json);
  Status add_metaspace(tokenizer_json::Json json);
  static Status split(const Step& step, PieceList& list, PatternScratch& scratch);
  static void rewrite(const Step& step, PieceList& list);
  static void cut(TextRange piece, const std::vector<TextRange>& matches, Behavior behavior, bool invert,
                  std::vector<TextRange>& out);

  std::vector<Step> steps_;
  bool gives_bytes_ = false;
};

}  // namespace xylem
