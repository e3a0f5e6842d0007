#include "server/choice.h"

namespace xylem {
namespace {

constexpr size_t kPromptTail = 6;  // enough context for the detokeniser to place a leading space

std::span<const TokenId> tail(std::span<const TokenId> prompt) {
  return prompt.last(std::min(prompt.size(), kPromptTail));
}

}  // namespace

// With a reasoning format the detokeniser shows special tokens, because tags may be such; add_token skips the others.
Choice::Choice(std::shared_ptr<const Tokenizer> tokenizer, std::span<const TokenId> prompt, OutputOptions options)
    : tokenizer_(std::move(tokenizer)),
      detokenizer_(tokenizer_, tail(prompt), options.skip_special_tokens && !options.reasoning),
      matcher_(options.stop, options.no_stop_trim),
      options_(std::move(options)) {
  if (options_.reasoning && options_.separate_reasoning) parser_.emplace(options_.reasoning, options_.begins_inside);
}

bool Choice::push(EngineEvent event) {
  if (done()) return false;
  if (event.cached_tokens > 0) cached_tokens_ = event.cached_tokens;
  for (TokenLogprob& p : event.prompt_logprobs) prompt_logprobs_.push_back(std::move(p));
  if (event.token >= 0 && !options_.discard) {
    tokens_.push_back(event.token);
    if (event.logprob) logprobs_.push_back(std::move(*event.logprob));
    const bool hidden = event.finish == Finish::kStop && !options_.no_stop_trim;  // the token that ended it is not text
    if (!hidden) add_token(event.token);
  }
  if (event.finish == Finish::kNone) return done();
  if (!done()) end(event);
  return false;
}

void Choice::add_token(TokenId id) {
  if (!options_.reasoning) return add_text(detokenizer_.push(id));
  const ReasoningTag* tag = options_.reasoning->find(id);
  const bool skipped = options_.skip_special_tokens && tokenizer_->is_special(id);
  if (skipped && !tag) return;
  const bool inside = reasoning_open();
  const std::string piece = detokenizer_.push(id);
  if (parser_) marked_.enter(piece.size(), tag && piece.ends_with(tag->text) ? tag : nullptr, !skipped);
  add_text(piece);
  if (inside || reasoning_open()) ++reasoning_tokens_;
}

void Choice::add_text(std::string_view piece) {
  StopMatcher::Out out = matcher_.push(piece);
  deliver(out.text, /*last=*/out.matched.has_value());
  if (out.matched) ending_ = {.reason = Finish::kStop, .stop = std::move(out.matched)};
}

void Choice::deliver(std::string_view text, bool last) {
  if (!parser_) {
    split_.content += text;
    return;
  }
  marked_.leave(text, last, *parser_, split_);
  if (last) parser_->finish(split_);
}

void Choice::end(EngineEvent& event) {
  const std::string rest = detokenizer_.finish();
  marked_.enter(rest.size(), nullptr, true);
  add_text(rest);  // may complete a stop string, which then is the reason
  if (done()) return;
  deliver(matcher_.finish(), /*last=*/true);
  ending_ = {.reason = event.finish, .error = std::move(event.error)};
  if (event.finish == Finish::kStop && event.token >= 0) ending_.token = event.token;
}

}  // namespace xylem
