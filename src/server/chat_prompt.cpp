#include "server/chat_prompt.h"

#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "server/app.h"
#include "server/fields.h"
#include "server/text_job.h"

namespace xylem {
namespace {

bool is_harmony(const App& app) {
  return app.model.reasoning && app.model.reasoning->kind == ReasoningFormat::Kind::kHarmony;
}

constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool", "function"};

// Takes the images of messages in the order of their parts.
struct ImageReader {
  const App& app;
  const BodyImages& loaded;
  std::vector<ImagePtr> images = {};

  // What stands for the part in the template's messages.
  Result<Json> read(const Json& part, const std::string& path) {
    TRY(const ImageSource source, read_image_part(part, path));
    TRY(ImagePtr image, find_image(app, loaded, source));
    if (!app.model.template_takes_parts)
      return invalid(fmt::format(
          "{}: the chat template of this model takes no images. Start the server with another --chat-template.", path));
    images.push_back(std::move(image));
    return Json{{"type", "image"}};
  }
};

// Content as the template wants it: the list of parts itself, or their texts joined.
Result<Json> normalise_content(const Json& content, const std::string& path, ImageReader& reader) {
  if (content.is_null()) return Json("");
  if (content.is_string()) return content;
  if (!content.is_array())
    return invalid(fmt::format("{}: must be a string or a list of parts, not {}.", path, kind_name(content)));
  Json parts = Json::array();
  std::string joined;
  for (const Json& item : content) {
    const std::string at = fmt::format("{}[{}]", path, parts.size());
    if (is_image_part(item)) {
      TRY(Json image, reader.read(item, at));
      parts.push_back(std::move(image));
      continue;
    }
    Fields part(item, at);
    std::string type, text;
    if (!part.string("type", type))
      part.fail("type", "is missing.");
    else if (type != "text")
      part.fail("type", fmt::format("\"{}\" is not supported; send parts of type \"text\" or \"image_url\".",
                                    type.substr(0, 32)));
    else if (!part.string("text", text))
      part.fail("text", "is missing.");
    TRY_VOID(part.status());
    joined += (parts.empty() ? "" : " ") + text;
    parts.push_back({{"type", "text"}, {"text", text}});
  }
  return reader.app.model.template_takes_parts ? parts : Json(joined);
}

// Templates want a call's arguments as an object; OpenAI sends them as the text of one.
void parse_arguments(Json& tool_calls) {
  if (!tool_calls.is_array()) return;
  for (Json& call : tool_calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    Json& function = call["function"];
    const auto it = function.find("arguments");
    if (it == function.end() || !it->is_string()) continue;
    auto parsed = parse_body(it->get_ref<const std::string&>());
    if (parsed.ok() && parsed->is_object()) *it = *std::move(parsed);
  }
}

// Harmony's template knows past reasoning as "thinking", and takes it or a content beside a tool call, not both.
void name_reasoning_thinking(Json& message) {
  const auto reasoning = message.find("reasoning_content");
  if (reasoning == message.end() || message.contains("thinking")) return;
  if (message.contains("tool_calls") && !message["content"].empty() && message["content"] != "") return;
  message["thinking"] = *reasoning;
}

Result<Json> normalise_message(const Json& message, const std::string& path, ImageReader& reader) {
  Fields fields(message, path);
  std::string role;
  if (!fields.string("role", role))
    fields.fail("role", "is missing.");
  else if (std::find(std::begin(kRoles), std::end(kRoles), role) == std::end(kRoles))
    fields.fail("role", fmt::format("unknown role \"{}\"; use system, developer, user, assistant or tool.",
                                    role.substr(0, 32)));
  static const Json none;
  const bool may_be_empty = role == "assistant" || role == "tool" || role == "function";
  std::string reasoning;
  fields.string("reasoning_content", reasoning);
  const Json* content = fields.get("content");
  if (!content && !may_be_empty) fields.fail("content", "is missing.");
  TRY_VOID(fields.status());
  Json out = Json::object();
  for (const auto& [key, value] : message.items())  // whatever else there is may matter to the template
    if (key != "content" && !value.is_null()) out[key] = value;
  TRY(out["content"], normalise_content(content ? *content : none, fields.path("content"), reader));
  if (out.contains("tool_calls")) parse_arguments(out["tool_calls"]);
  return out;
}

Result<Json> read_messages(Fields& fields, ImageReader& reader) {
  const Json* messages = fields.get("messages");
  if (!messages) {
    fields.fail("messages", "is missing.");
    return fields.status().error();
  }
  if (!messages->is_array() || messages->empty()) return invalid("messages: must be a list of at least one message.");
  Json out = Json::array();
  for (const Json& m : *messages) {
    TRY(Json message, normalise_message(m, fmt::format("messages[{}]", out.size()), reader));
    if (is_harmony(reader.app)) name_reasoning_thinking(message);
    out.push_back(std::move(message));
  }
  return out;
}

// "none" or an effort by name or number; chat_template_kwargs may hold it too. Absent: null.
Result<Json> read_effort(const App& app, Fields& fields) {
  const Json* effort = fields.get("reasoning_effort");
  if (!effort) return Json();
  if (effort->is_number()) {
    float value = 0;
    fields.number("reasoning_effort", value, {0, 0.99});
  } else if (effort->is_string()) {
    constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    if (std::find(std::begin(kEfforts), std::end(kEfforts), effort->get<std::string>()) == std::end(kEfforts))
      fields.fail("reasoning_effort",
                  "must be none, minimal, low, medium, high, xhigh, max, or a number from 0 to 0.99.");
    else if (*effort == "none" && is_harmony(app))
      fields.fail("reasoning_effort", "this model always reasons; use low, medium or high.");
  } else {
    fields.fail("reasoning_effort", fmt::format("must be a string or a number, not {}.", kind_name(*effort)));
  }
  if (auto s = fields.status(); !s.ok()) return s.error();
  return *effort;
}

struct TemplateArguments {
  const Json* given = nullptr;  // chat_template_kwargs
  Json effort;                  // null when absent
};

Result<TemplateArguments> read_template_arguments(const App& app, Fields& fields) {
  TemplateArguments arguments;
  TRY(arguments.effort, read_effort(app, fields));
  arguments.given = fields.get("chat_template_kwargs");
  if (!arguments.given) return arguments;
  Fields given(*arguments.given, "chat_template_kwargs");
  bool thinking = false;
  given.boolean("enable_thinking", thinking);
  given.boolean("thinking", thinking);
  TRY(Json effort, read_effort(app, given));
  if (!effort.is_null()) arguments.effort = std::move(effort);
  TRY_VOID(given.status());
  return arguments;
}

// Null when there are none to show. Calls are not parsed from the answer yet, so a choice that forces one is refused.
Result<Json> read_tools(Fields& fields) {
  const Json* tools = fields.get("tools");
  const Json* choice = fields.get("tool_choice");
  if (choice && (!choice->is_string() || (*choice != "auto" && *choice != "none")))
    return invalid("tool_choice: forcing a tool call is not supported yet; use \"auto\" or \"none\".");
  if (!tools || (choice && *choice == "none")) return Json();
  if (!tools->is_array()) return invalid(fmt::format("tools: must be a list, not {}.", kind_name(*tools)));
  for (size_t i = 0; i < tools->size(); ++i)
    if (!(*tools)[i].is_object())
      return invalid(fmt::format("tools[{}]: must be an object, not {}.", i, kind_name((*tools)[i])));
  return tools->empty() ? Json() : *tools;
}

Json template_variables(const App& app, Json messages, Json tools, const TemplateArguments& arguments,
                        bool generation_prompt) {
  Json vars = {{"messages", std::move(messages)},
               {"tools", std::move(tools)},
               {"documents", nullptr},
               {"add_generation_prompt", generation_prompt}};
  for (const char* role : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"})
    if (std::string spelling = app.model.tokenizer->role(role); !spelling.empty()) vars[role] = std::move(spelling);
  if (!arguments.effort.is_null()) vars["reasoning_effort"] = arguments.effort;
  if (arguments.effort == "none") vars["enable_thinking"] = vars["thinking"] = false;
  if (arguments.given)
    for (const auto& [key, value] : arguments.given->items()) vars[key] = value;
  return vars;
}

Result<std::string> take_final_message(Json& messages) {
  std::string text;
  const Json& content = messages.back()["content"];
  if (content.is_string())
    text = content.get<std::string>();
  else
    for (const Json& part : content) {
      if (is_image_part(part)) return invalid("continue_final_message: a message with images cannot be continued.");
      text += part["text"].get_ref<const std::string&>();
    }
  messages.erase(messages.size() - 1);
  return text;
}

Result<std::string> render(const App& app, const Json& vars) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  auto text = app.model.chat_template->render(vars, local);
  if (!text.ok()) return invalid("The chat template refused the messages: " + text.error().text);
  return text;
}

}  // namespace

bool begins_inside_reasoning(const App& app, const std::vector<TokenId>& prompt) {
  if (!app.model.reasoning) return false;
  const auto end = std::span(prompt).last(std::min<size_t>(prompt.size(), 16));
  return app.model.reasoning->begins_inside(app.model.tokenizer->decode(end, /*skip_special_tokens=*/false), "");
}

Result<ChatPrompt> read_chat_prompt(const App& app, Fields& fields, const BodyImages& images) {
  if (!app.model.chat_template)
    return invalid(
        "This model has no chat template, so it cannot take messages. Use /v1/completions, or start the server with "
        "--chat-template.");
  bool continue_final = false, generation_prompt = true;
  fields.boolean("continue_final_message", continue_final);
  fields.boolean("add_generation_prompt", generation_prompt);
  ImageReader reader{app, images};
  TRY(Json messages, read_messages(fields, reader));
  TRY(Json tools, read_tools(fields));
  TRY(const TemplateArguments arguments, read_template_arguments(app, fields));
  TRY_VOID(fields.status());
  std::string prefix;
  if (continue_final) {
    if (messages.back()["role"] != "assistant")
      return invalid("continue_final_message: the last message must be the assistant's.");
    TRY(prefix, take_final_message(messages));
    if (messages.empty()) return invalid("messages: continue_final_message needs a message before the last one.");
  }
  const Json vars = template_variables(app, std::move(messages), std::move(tools), arguments, generation_prompt);
  TRY(const std::string text, render(app, vars));
  ChatPrompt prompt;
  TRY(auto ids, encode_text(app, text + prefix, /*add_special_tokens=*/false, "messages"));
  TRY(PlacedPrompt placed, place_images(app, std::move(ids), reader.images, "messages"));
  prompt.ids = std::move(placed.ids);
  prompt.images = std::move(placed.images);
  prompt.begins_inside = app.model.reasoning && app.model.reasoning->begins_inside(text, prefix);
  return prompt;
}

}  // namespace xylem
