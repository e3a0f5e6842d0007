// POST /tokenize and /detokenize.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "server/app.h"
#include "server/chat_prompt.h"
#include "server/fields.h"
#include "server/plain_routes.h"
#include "server/text_job.h"

namespace xylem {
namespace {

Result<Json> tokenize_prompt(const App& app, const Json& prompt, bool add_special_tokens) {
  if (prompt.is_string()) {
    TRY(const auto ids, encode_text(app, prompt.get_ref<const std::string&>(), add_special_tokens, "prompt"));
    return Json{{"tokens", ids}, {"count", ids.size()}};
  }
  if (!prompt.is_array())
    return invalid(fmt::format("prompt: must be a string or a list of strings, not {}.", kind_name(prompt)));
  Json tokens = Json::array(), counts = Json::array();
  for (const Json& item : prompt) {
    if (!item.is_string())
      return invalid(fmt::format("prompt[{}]: must be a string, not {}.", tokens.size(), kind_name(item)));
    TRY(const auto ids, encode_text(app, item.get_ref<const std::string&>(), add_special_tokens,
                                    fmt::format("prompt[{}]", tokens.size())));
    counts.push_back(ids.size());
    tokens.push_back(ids);
  }
  return Json{{"tokens", std::move(tokens)}, {"count", std::move(counts)}};
}

Result<Json> tokenize_body(const App& app, const Json& body) {
  Fields fields(body, "");
  bool add_special_tokens = true;
  fields.boolean("add_special_tokens", add_special_tokens);
  const Json* prompt = fields.get("prompt");
  const Json* messages = fields.get("messages");
  TRY_VOID(fields.status());
  if (!prompt == !messages) return invalid("Exactly one of prompt and messages must be given.");
  if (prompt) return tokenize_prompt(app, *prompt, add_special_tokens);
  TRY(const ChatPrompt chat, read_chat_prompt(app, fields, {}));
  return Json{{"tokens", chat.ids}, {"count", chat.ids.size()}};
}

Result<Json> detokenize_body(const App& app, const Json& body) {
  Fields fields(body, "");
  bool skip_special_tokens = true;
  fields.boolean("skip_special_tokens", skip_special_tokens);
  const Json* tokens = fields.get("tokens");
  if (!tokens) fields.fail("tokens", "is missing.");
  TRY_VOID(fields.status());
  const int64_t vocab_size = app.engine.info().vocab_size;
  const bool many = tokens->is_array() && !tokens->empty() && (*tokens)[0].is_array();
  Json texts = Json::array();
  for (size_t i = 0; i < (many ? tokens->size() : 1); ++i) {
    TRY(const auto ids,
        parse_ids(many ? (*tokens)[i] : *tokens, many ? fmt::format("tokens[{}]", i) : "tokens", vocab_size));
    texts.push_back(app.model.tokenizer->decode(ids, skip_special_tokens));
  }
  return Json{{"text", many ? texts : texts[0]}};
}

HttpResponse respond(const Result<Json>& json) {
  return json.ok() ? json_response(*json) : error_response(json.error());
}

}  // namespace

HttpResponse tokenize(App& app, const Json& body) {
  Result<Json> json = tokenize_body(app, body);
  if (json.ok()) (*json)["max_model_len"] = app.engine.info().context_length;
  return respond(json);
}

HttpResponse detokenize(App& app, const Json& body) { return respond(detokenize_body(app, body)); }

}  // namespace xylem
