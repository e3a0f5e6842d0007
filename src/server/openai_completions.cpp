#include "server/openai_completions.h"

#include <fmt/format.h>

#include "server/app.h"
#include "server/fields.h"
#include "server/openai_common.h"
#include "server/wire.h"

namespace xylem {
namespace {

struct Prompt {
  std::vector<TokenId> ids;
  std::string text;  // for echo
};

class CompletionsFormatter : public Formatter {
 public:
  CompletionsFormatter(WireContext context, std::vector<Prompt> prompts, bool echo, bool logprobs)
      : context_(std::move(context)),
        prompts_(std::move(prompts)),
        echo_(echo),
        logprobs_(logprobs),
        sent_(prompts_.size() * context_.n) {}

  void stream(size_t i, const Choice& choice, std::string& out) override {
    Position& at = sent_[i];
    Json logprobs = take_logprobs(i, choice, at);
    const bool news = !logprobs.is_null() && !logprobs["tokens"].empty();
    std::string text = echo_ && !at.started ? prompts_[i / context_.n].text : "";
    text += choice.text().substr(at.text);
    at.text = choice.text().size();
    at.started = true;
    const bool failed = choice.ending().reason == Finish::kError;
    if (!text.empty() || news || (choice.done() && !failed)) {
      Json data = head();
      data["choices"] = Json::array({item(i, choice, text, std::move(logprobs))});
      data["usage"] = context_.continuous_usage ? usage(context_, i, choice) : Json();
      out += sse_event(data);
    }
    if (failed) out += sse_event(sse_error(choice.ending().error));
  }

  void stream_end(const std::vector<Choice>& choices, std::string& out) override {
    if (!context_.include_usage) return;
    Json data = head();
    data["choices"] = Json::array();
    data["usage"] = usage(context_, choices);
    out += sse_event(data);
  }

  std::string body(const std::vector<Choice>& choices) override {
    Json data = head();
    data["choices"] = Json::array();
    for (size_t i = 0; i < choices.size(); ++i) {
      Position at;
      const std::string text = (echo_ ? prompts_[i / context_.n].text : "") + choices[i].text();
      data["choices"].push_back(item(i, choices[i], text, take_logprobs(i, choices[i], at)));
    }
    data["usage"] = usage(context_, choices);
    data["metadata"] = {{"weight_version", "default"}};
    return dump(data);
  }

 private:
  struct Position {
    bool started = false;
    size_t text = 0, logprobs = 0, offset = 0;  // offset: characters of all tokens so far
  };

  Json head() const {
    return {
        {"id", context_.id}, {"object", "text_completion"}, {"created", context_.created}, {"model", context_.model}};
  }

  static Json item(size_t i, const Choice& choice, const std::string& text, Json logprobs) {
    return {{"index", i},
            {"text", text},
            {"logprobs", std::move(logprobs)},
            {"finish_reason", finish_reason(choice.ending())},
            {"matched_stop", matched_stop(choice.ending())}};
  }

  void add_token(Json& out, TokenId id, Json logprob, Json top, size_t& offset) const {
    const std::string text = token_text(*context_.tokenizer, id);
    out["tokens"].push_back(text);
    out["token_logprobs"].push_back(std::move(logprob));
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(offset);
    offset += count_characters(text);
  }

  void add_token(Json& out, const TokenLogprob& p, size_t& offset) const {
    Json top = Json::object();
    for (const auto& [id, logprob] : p.top)
      if (const std::string text = token_text(*context_.tokenizer, id); !top.contains(text))
        top[text] = finite_logprob(logprob);
    add_token(out, p.token, finite_logprob(p.logprob), std::move(top), offset);
  }

  // What is new since `at`, the echoed prompt first; null when not asked for.
  Json take_logprobs(size_t i, const Choice& choice, Position& at) const {
    if (!logprobs_) return nullptr;
    Json out = {{"tokens", Json::array()},
                {"token_logprobs", Json::array()},
                {"top_logprobs", Json::array()},
                {"text_offset", Json::array()}};
    if (echo_ && !at.started) {
      add_token(out, prompts_[i / context_.n].ids.front(), nullptr, nullptr,
                at.offset);  // nothing predicts the first token
      for (const TokenLogprob& p : choice.prompt_logprobs()) add_token(out, p, at.offset);
    }
    for (; at.logprobs < choice.logprobs().size(); ++at.logprobs)
      add_token(out, choice.logprobs()[at.logprobs], at.offset);
    return out;
  }

  const WireContext context_;
  const std::vector<Prompt> prompts_;
  const bool echo_, logprobs_;
  std::vector<Position> sent_;
};

Result<Prompt> text_prompt(const App& app, const Json& json, const std::string& path) {
  if (!json.is_string()) return invalid(fmt::format("{}: must be a string, not {}.", path, kind_name(json)));
  Prompt p;
  p.text = json.get<std::string>();
  TRY(p.ids, encode_text(app, p.text, /*add_special_tokens=*/true, path));
  return p;
}

Result<Prompt> ids_prompt(const App& app, const Json& json, const std::string& path) {
  Prompt p;
  TRY(p.ids, parse_ids(json, path, app.engine.info().vocab_size));
  p.text = app.model.tokenizer->decode(p.ids, /*skip_special_tokens=*/true);
  return p;
}

// A string, a list of strings, a list of ids, or a list of lists of ids.
Result<std::vector<Prompt>> read_prompts(const App& app, const Json& prompt) {
  std::vector<Prompt> prompts;
  if (prompt.is_string() || (prompt.is_array() && !prompt.empty() && prompt[0].is_number())) {
    TRY(Prompt p, prompt.is_string() ? text_prompt(app, prompt, "prompt") : ids_prompt(app, prompt, "prompt"));
    prompts.push_back(std::move(p));
    return prompts;
  }
  if (!prompt.is_array() || prompt.empty())
    return invalid(
        "prompt: must be a string, a list of strings, a list of token ids, or a list of lists of token ids; not "
        "empty.");
  TRY_VOID(check_prompt_count(prompt.size(), "prompt"));
  for (const Json& item : prompt) {
    const std::string path = fmt::format("prompt[{}]", prompts.size());
    TRY(Prompt p, item.is_array() ? ids_prompt(app, item, path) : text_prompt(app, item, path));
    prompts.push_back(std::move(p));
  }
  return prompts;
}

LogprobOptions read_logprobs(Fields& fields, bool echo) {
  LogprobOptions logprobs;
  if (!fields.integer("logprobs", logprobs.top, 0, 20)) return logprobs;
  logprobs.output = true;
  if (echo) logprobs.prompt_from = 0;
  return logprobs;
}

}  // namespace

Result<TextJob> parse_completions(const App& app, const Json& body, const BodyImages&) {
  Fields fields(body, "");
  TextJob job;
  SamplingOptions options = read_sampling(app, fields,
                                          {.max_tokens = "max_tokens",
                                           .min_tokens = "min_tokens",
                                           .seed = "seed",
                                           .max_temperature = 2,
                                           .max_bias = 100,
                                           .min_max_tokens = 0});
  options.default_max_new_tokens = 16;
  bool echo = false;
  fields.boolean("echo", echo);
  const LogprobOptions logprobs = read_logprobs(fields, echo);
  int best_of = options.n;
  fields.integer("best_of", best_of, 1, 128);
  if (best_of != options.n && best_of != 1) fields.fail("best_of", "is only supported when it equals n.");
  if (options.output.discard && !echo) fields.fail("max_tokens", "must be at least 1 without echo.");
  std::string suffix;
  if (fields.string("suffix", suffix) && !suffix.empty()) fields.fail("suffix", "is not supported.");
  const OpenAiCommon common = read_openai_common(app, fields, job, "cmpl-");
  const Json* prompt = fields.get("prompt");
  if (!prompt) fields.fail("prompt", "is missing.");
  fields.check_unknown(/*strict=*/false);
  TRY_VOID(fields.status());
  TRY(std::vector<Prompt> prompts, read_prompts(app, *prompt));
  const bool is_text = prompt->is_string() || (prompt->is_array() && !prompt->empty() && (*prompt)[0].is_string());
  WireContext context = common.context;
  context.n = options.n;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].ids.empty()) return invalid("prompt: has no tokens. Send at least one.");
    if (is_text) TRY_VOID(place_images(app, prompts[i].ids, {}, "prompt"));  // spells no placeholder: this route takes no images
    context.prompt_tokens.push_back(static_cast<int>(prompts[i].ids.size()));
    job.prompts.push_back({.prompt = prompts[i].ids,
                           .rid = prompts.size() == 1 ? common.rid : fmt::format("{}_{}", common.rid, i),
                           .options = options,
                           .logprobs = logprobs});
  }
  job.formatter = std::make_unique<CompletionsFormatter>(std::move(context), std::move(prompts), echo, logprobs.output);
  return job;
}

}  // namespace xylem
