// One answer being generated: engine events in; text, reasoning, tokens and the reason of its end out. Knows no wire
// format.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine.h"
#include "server/marked_text.h"
#include "text/reasoning.h"
#include "text/stop_matcher.h"
#include "text/tokenizer.h"

namespace xylem {

// What happens to generated tokens on their way to text.
struct OutputOptions {
  std::vector<std::string> stop;
  bool skip_special_tokens = true;
  bool no_stop_trim = false;  // keep the stop string, or the text of the stop token, at the end of the answer
  bool discard = false;       // no output was asked for (max_tokens 0): the one token the engine samples is dropped
  std::shared_ptr<const ReasoningFormat> reasoning;  // null: the model marks no reasoning
  bool separate_reasoning = true;                    // false: it stays in the text, with its tags
  bool begins_inside = false;                        // the prompt ends inside reasoning
};

// Why a choice ended. At most one of token and stop is set, and only with kStop.
struct Ending {
  Finish reason = Finish::kNone;
  std::optional<TokenId> token;     // EOS or a stop id that ended it
  std::optional<std::string> stop;  // the stop string that was found
  Error error;                      // with kError
};

// One thread at a time. Everything is cumulative: writers of streams keep their own position.
class Choice {
 public:
  Choice(std::shared_ptr<const Tokenizer> tokenizer, std::span<const TokenId> prompt, OutputOptions options);

  // Events after the end are ignored. True when a stop string has just ended the choice: the engine still generates for
  // it and must be told to cancel.
  bool push(EngineEvent event);

  bool done() const { return ending_.reason != Finish::kNone; }
  const Ending& ending() const { return ending_; }
  const std::string& text() const { return split_.content; }  // final: never changes, only grows
  const std::string& reasoning() const {
    return split_.reasoning;
  }  // likewise; what stop strings match counts for both
  bool reasoning_open() const { return parser_ && parser_->inside(); }     // more of it may come at once
  int reasoning_tokens() const { return reasoning_tokens_; }               // tags included
  const std::vector<TokenId>& tokens() const { return tokens_; }           // the ending token included
  const std::vector<TokenLogprob>& logprobs() const { return logprobs_; }  // of tokens(), if asked for
  const std::vector<TokenLogprob>& prompt_logprobs() const { return prompt_logprobs_; }
  int cached_tokens() const { return cached_tokens_; }

 private:
  void add_token(TokenId id);
  void add_text(std::string_view piece);
  void deliver(std::string_view text, bool last);
  void end(EngineEvent& event);

  std::shared_ptr<const Tokenizer> tokenizer_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  OutputOptions options_;
  std::optional<ReasoningParser> parser_;  // none: all text is content
  MarkedText marked_;
  ReasoningSplit split_;
  std::vector<TokenId> tokens_;
  std::vector<TokenLogprob> logprobs_, prompt_logprobs_;
  Ending ending_;
  int cached_tokens_ = 0, reasoning_tokens_ = 0;
};

}  // namespace xylem
