#include "server/choice.h"

namespace xylem {
namespace {

constexpr size_t kPromptTail = 6;  // enough context for the detokeniser to place a leading space

std::span<const TokenId> tail(std::span<const TokenId> prompt) {
  return prompt.last(std::min(prompt.size(), kPromptTail));
}

}  // namespace

Choice::Choice(std::shared_ptr<const Tokenizer> tokenizer, std::span<const TokenId> prompt, OutputOptions options)
    : detokenizer_(std::move(tokenizer), tail(prompt), options.skip_special_tokens),
      matcher_(options.stop, options.no_stop_trim),
      options_(std::move(options)) {}

bool Choice::push(EngineEvent event) {
  if (done()) return false;
  if (event.cached_tokens > 0) cached_tokens_ = event.cached_tokens;
  for (TokenLogprob& p : event.prompt_logprobs) prompt_logprobs_.push_back(std::move(p));
  if (event.token >= 0 && !options_.discard) {
    tokens_.push_back(event.token);
    if (event.logprob) logprobs_.push_back(std::move(*event.logprob));
    const bool hidden = event.finish == Finish::kStop && !options_.no_stop_trim;  // the token that ended it is not text
    if (!hidden) add_text(detokenizer_.push(event.token));
  }
  if (event.finish == Finish::kNone) return done();
  if (!done()) end(event);
  return false;
}

void Choice::add_text(std::string_view piece) {
  StopMatcher::Out out = matcher_.push(piece);
  text_ += out.text;
  if (out.matched) ending_ = {.reason = Finish::kStop, .stop = std::move(out.matched)};
}

void Choice::end(EngineEvent& event) {
  add_text(detokenizer_.finish());  // may complete a stop string, which then is the reason
  if (done()) return;
  text_ += matcher_.finish();
  ending_ = {.reason = event.finish, .error = std::move(event.error)};
  if (event.finish == Finish::kStop && event.token >= 0) ending_.token = event.token;
}

}  // namespace xylem
