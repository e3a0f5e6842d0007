// Splits what a model writes into its reasoning and its answer. Models mark the border in three ways: a block between
// two tags (<think> ... </think>), a block with a label (<|channel>thought\n ... <channel|>), and messages on channels
// (harmony: analysis, commentary, final).
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/token.h"
#include "text/reasoning_blocks.h"
#include "text/reasoning_harmony.h"
#include "text/reasoning_tag.h"

namespace xylem {

// How a model marks its reasoning. Immutable once made.
struct ReasoningFormat {
  enum class Kind { kBlocks, kHarmony };
  std::string name;  // as --reasoning-parser takes it
  Kind kind = Kind::kBlocks;
  std::vector<ReasoningTag> tags;
  std::string label;           // kBlocks: follows the opening tag and belongs to it
  bool always_starts = false;  // the answer begins inside reasoning even when the prompt does not show it

  const ReasoningTag* find(TokenId id) const;  // null when the id is no tag
  const ReasoningTag* find(ReasoningTag::Role role) const;
  // Does an answer to this prompt begin inside reasoning? prompt: the rendered text's end up to the answer (its last
  // 64 bytes are enough). begun: the part of the answer that the client wrote.
  bool begins_inside(std::string_view prompt, std::string_view begun) const;
};

// One stream, one thread at a time. The pieces may be cut anywhere: the concatenated outputs are the same.
class ReasoningParser {
 public:
  // format outlives the parser by its share. inside: the stream begins inside reasoning.
  ReasoningParser(std::shared_ptr<const ReasoningFormat> format, bool inside);

  // Text as it comes. Tags that have no id in the vocabulary are found in it; a tag that has one counts only as
  // push_tag, so that a text about tags is not taken for one.
  void push_text(std::string_view piece, ReasoningSplit& out);
  // A token that is a tag. shown: where the tag means nothing, its spelling is part of the text.
  void push_tag(const ReasoningTag& tag, bool shown, ReasoningSplit& out);
  // The stream is over: what was held back comes out as what it is.
  void finish(ReasoningSplit& out);

  bool inside() const;  // text that comes now is reasoning

 private:
  void emit(std::string_view text, ReasoningSplit& out);
  void hand_over(const ReasoningTag& tag, bool certain, bool shown, ReasoningSplit& out);
  void scan(ReasoningSplit& out);

  std::shared_ptr<const ReasoningFormat> format_;
  std::vector<const ReasoningTag*> spelled_;  // tags to find in the text
  std::string held_;                          // may be the beginning of one
  std::variant<BlockReader, HarmonyReader> reader_;
};

}  // namespace xylem
