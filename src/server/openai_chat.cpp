#include "server/openai_chat.h"

#include "server/app.h"
#include "server/chat_prompt.h"
#include "server/fields.h"
#include "server/openai_common.h"
#include "server/wire.h"

namespace xylem {
namespace {

Json entry(const Tokenizer& tokenizer, TokenId id, float logprob) {
  Json bytes = Json::array();
  for (const unsigned char b : token_bytes(tokenizer, id)) bytes.push_back(b);
  return {{"token", token_text(tokenizer, id)}, {"bytes", std::move(bytes)}, {"logprob", finite_logprob(logprob)}};
}

class ChatFormatter : public Formatter {
 public:
  ChatFormatter(WireContext context, bool logprobs)
      : context_(std::move(context)), logprobs_(logprobs), sent_(context_.n) {}

  void stream(size_t i, const Choice& choice, std::string& out) override {
    Position& at = sent_[i];
    if (!at.started) chunk(i, choice, {{"role", "assistant"}, {"content", ""}}, nullptr, false, out);
    at.started = true;
    if (choice.text().size() > at.text || (logprobs_ && choice.logprobs().size() > at.logprobs)) {
      chunk(i, choice, {{"content", choice.text().substr(at.text)}}, logprobs_json(choice, at.logprobs), false, out);
      at = {true, choice.text().size(), choice.logprobs().size()};
    }
    if (choice.ending().reason == Finish::kError)
      out += sse_event(sse_error(choice.ending().error));
    else if (choice.done())
      chunk(i, choice, Json::object(), nullptr, true, out);
  }

  void stream_end(const std::vector<Choice>& choices, std::string& out) override {
    if (!context_.include_usage) return;
    Json data = head("chat.completion.chunk");
    data["choices"] = Json::array();
    data["usage"] = usage(context_, choices);
    out += sse_event(data);
  }

  std::string body(const std::vector<Choice>& choices) override {
    Json data = head("chat.completion");
    data["choices"] = Json::array();
    for (size_t i = 0; i < choices.size(); ++i) {
      const Choice& c = choices[i];
      data["choices"].push_back(
          {{"index", i},
           {"message",
            {{"role", "assistant"}, {"content", c.text()}, {"reasoning_content", nullptr}, {"tool_calls", nullptr}}},
           {"logprobs", logprobs_json(c, 0)},
           {"finish_reason", finish_reason(c.ending())},
           {"matched_stop", matched_stop(c.ending())}});
    }
    data["usage"] = usage(context_, choices);
    data["metadata"] = {{"weight_version", "default"}};
    return dump(data);
  }

 private:
  struct Position {
    bool started = false;
    size_t text = 0, logprobs = 0;
  };

  Json head(const char* object) const {
    return {{"id", context_.id}, {"object", object}, {"created", context_.created}, {"model", context_.model}};
  }

  Json logprobs_json(const Choice& choice, size_t from) const {
    if (!logprobs_) return nullptr;
    Json content = Json::array();
    for (size_t i = from; i < choice.logprobs().size(); ++i) {
      const TokenLogprob& p = choice.logprobs()[i];
      Json item = entry(*context_.tokenizer, p.token, p.logprob);
      item["top_logprobs"] = Json::array();
      for (const auto& [id, logprob] : p.top) item["top_logprobs"].push_back(entry(*context_.tokenizer, id, logprob));
      content.push_back(std::move(item));
    }
    return {{"content", std::move(content)}};
  }

  void chunk(size_t i, const Choice& choice, Json delta, Json logprobs, bool last, std::string& out) const {
    const Ending running;
    const Ending& ending = last ? choice.ending() : running;
    Json data = head("chat.completion.chunk");
    Json item = {{"index", i}, {"delta", std::move(delta)}, {"logprobs", std::move(logprobs)}};
    item["finish_reason"] = finish_reason(ending);
    item["matched_stop"] = matched_stop(ending);
    data["choices"] = Json::array({std::move(item)});
    data["usage"] = context_.continuous_usage ? usage(context_, i, choice) : Json();
    out += sse_event(data);
  }

  const WireContext context_;
  const bool logprobs_;
  std::vector<Position> sent_;
};

void read_logprobs(Fields& fields, LogprobOptions& logprobs) {
  fields.boolean("logprobs", logprobs.output);
  if (fields.integer("top_logprobs", logprobs.top, 0, 20) && logprobs.top > 0 && !logprobs.output)
    fields.fail("top_logprobs", "needs logprobs to be true.");
}

}  // namespace

Result<TextJob> parse_chat(const App& app, const Json& body) {
  Fields fields(body, "");
  TextJob job;
  PromptJob prompt;
  const bool newer =
      body.is_object() && body.contains("max_completion_tokens") && !body["max_completion_tokens"].is_null();
  fields.ignore({"max_tokens", "max_completion_tokens"});
  prompt.options = read_sampling(app, fields,
                                 {.max_tokens = newer ? "max_completion_tokens" : "max_tokens",
                                  .min_tokens = "min_tokens",
                                  .seed = "seed",
                                  .max_temperature = 2,
                                  .max_bias = 100,
                                  .min_max_tokens = 1});
  read_logprobs(fields, prompt.logprobs);
  const OpenAiCommon common = read_openai_common(app, fields, job, "chatcmpl-");
  fields.refuse({"functions", "function_call"}, "is deprecated and not supported; use tools.");
  fields.refuse("audio", "audio output is not supported.");
  fields.refuse("web_search_options", "is not supported.");
  fields.ignore({"separate_reasoning", "stream_reasoning", "parallel_tool_calls", "prediction", "verbosity"});
  if (const Json* modalities = fields.get("modalities"); modalities && *modalities != Json::array({"text"}))
    fields.fail("modalities", "only [\"text\"] is supported.");
  const bool given_ids = fields.ids("input_ids", prompt.prompt, app.engine.info().vocab_size, SIZE_MAX);
  fields.ignore({"messages", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort",
                 "continue_final_message", "add_generation_prompt"});
  fields.check_unknown(/*strict=*/false);
  TRY_VOID(fields.status());
  if (!given_ids) {
    TRY(prompt.prompt, read_chat_prompt(app, fields));
  }
  prompt.rid = common.rid;
  WireContext context = common.context;
  context.n = prompt.options.n;
  context.prompt_tokens = {static_cast<int>(prompt.prompt.size())};
  job.formatter = std::make_unique<ChatFormatter>(std::move(context), prompt.logprobs.output);
  job.prompts.push_back(std::move(prompt));
  return job;
}

}  // namespace xylem
