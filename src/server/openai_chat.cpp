#include "server/openai_chat.h"

#include <fmt/format.h>

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
  ChatFormatter(WireContext context, bool logprobs, bool stream_reasoning)
      : context_(std::move(context)), logprobs_(logprobs), stream_reasoning_(stream_reasoning), sent_(context_.n) {}

  void stream(size_t i, const Choice& choice, std::string& out) override {
    Position& at = sent_[i];
    if (!at.started) chunk(i, choice, {{"role", "assistant"}, {"content", ""}}, nullptr, false, out);
    at.started = true;
    const bool complete = choice.done() || !choice.reasoning_open();
    if (choice.reasoning().size() > at.reasoning && (stream_reasoning_ || complete))
      grow(i, choice, "reasoning_content", choice.reasoning(), at.reasoning, out);
    if (choice.text().size() > at.text || (logprobs_ && choice.logprobs().size() > at.logprobs))
      grow(i, choice, "content", choice.text(), at.text, out);
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
      data["choices"].push_back({{"index", i},
                                 {"message", message(c)},
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
    size_t text = 0, reasoning = 0, logprobs = 0;
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

  // A chunk with what text has gained. Log-probabilities go with whatever chunk is the first after their token.
  void grow(size_t i, const Choice& choice, const char* name, const std::string& text, size_t& sent, std::string& out) {
    size_t& logprobs = sent_[i].logprobs;
    chunk(i, choice, {{name, text.substr(sent)}}, logprobs_json(choice, logprobs), false, out);
    sent = text.size();
    logprobs = choice.logprobs().size();
  }

  // An answer that ended while it reasoned has no content.
  static Json message(const Choice& c) {
    const Json reasoning = c.reasoning().empty() ? Json() : Json(c.reasoning());
    const Json content = c.text().empty() && !c.reasoning().empty() ? Json() : Json(c.text());
    return {{"role", "assistant"}, {"content", content}, {"reasoning_content", reasoning}, {"tool_calls", nullptr}};
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
  const bool logprobs_, stream_reasoning_;
  std::vector<Position> sent_;
};

void read_logprobs(Fields& fields, LogprobOptions& logprobs) {
  fields.boolean("logprobs", logprobs.output);
  if (fields.integer("top_logprobs", logprobs.top, 0, 20) && logprobs.top > 0 && !logprobs.output)
    fields.fail("top_logprobs", "needs logprobs to be true.");
}

}  // namespace

std::vector<ImageSource> find_chat_images(const Json& body) {
  std::vector<ImageSource> found;
  if (!body.is_object() || !body.contains("messages")) return found;
  if (body.contains("input_ids") && !body["input_ids"].is_null()) return found;  // in place of the messages
  const Json& messages = body["messages"];
  for (size_t m = 0; messages.is_array() && m < messages.size(); ++m) {
    if (!messages[m].is_object() || !messages[m].contains("content")) continue;
    const Json& content = messages[m]["content"];
    for (size_t c = 0; content.is_array() && c < content.size(); ++c) {
      if (!is_image_part(content[c])) continue;
      auto source = read_image_part(content[c], fmt::format("messages[{}].content[{}]", m, c));
      if (source.ok()) found.push_back(*std::move(source));
    }
  }
  return found;
}

Result<TextJob> parse_chat(const App& app, const Json& body, const BodyImages& images) {
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
  bool stream_reasoning = true;
  prompt.options.output.reasoning = app.model.reasoning;
  fields.boolean("separate_reasoning", prompt.options.output.separate_reasoning);
  fields.boolean("stream_reasoning", stream_reasoning);
  fields.ignore({"parallel_tool_calls", "prediction", "verbosity"});
  if (const Json* modalities = fields.get("modalities"); modalities && *modalities != Json::array({"text"}))
    fields.fail("modalities", "only [\"text\"] is supported.");
  const bool given_ids = fields.ids("input_ids", prompt.prompt, app.engine.info().vocab_size, SIZE_MAX);
  fields.ignore({"messages", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort",
                 "continue_final_message", "add_generation_prompt"});
  fields.check_unknown(/*strict=*/false);
  TRY_VOID(fields.status());
  if (given_ids) {
    prompt.options.output.begins_inside = begins_inside_reasoning(app, prompt.prompt);
  } else {
    TRY(ChatPrompt chat, read_chat_prompt(app, fields, images));
    prompt.prompt = std::move(chat.ids);
    prompt.images = std::move(chat.images);
    prompt.options.output.begins_inside = chat.begins_inside;
  }
  prompt.rid = common.rid;
  WireContext context = common.context;
  context.n = prompt.options.n;
  context.prompt_tokens = {static_cast<int>(prompt.prompt.size())};
  job.formatter = std::make_unique<ChatFormatter>(std::move(context), prompt.logprobs.output, stream_reasoning);
  job.prompts.push_back(std::move(prompt));
  return job;
}

}  // namespace xylem
