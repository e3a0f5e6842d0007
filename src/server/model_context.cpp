#include "server/model_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "server/json_body.h"
#include "text/reasoning_formats.h"

namespace xylem {
namespace {

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return not_found(fmt::format("Cannot read {}.", path));
  return text.str();
}

// An empty object when there is no such file.
Result<Json> read_json_file(const std::string& path) {
  if (!std::filesystem::exists(path)) return Json::object();
  TRY(const std::string text, read_file(path));
  auto json = parse_body(text);
  if (!json.ok()) return invalid(fmt::format("{}: {}", path, json.error().text));
  if (!json->is_object()) return invalid(fmt::format("{}: must be a JSON object.", path));
  return json;
}

std::vector<TokenId> read_ids(const Json& object, const char* name) {
  std::vector<TokenId> ids;
  const auto it = object.find(name);
  if (it == object.end()) return ids;
  for (const Json& item : it->is_array() ? *it : Json::array({*it}))
    if (item.is_number_integer()) ids.push_back(item.get<TokenId>());
  return ids;
}

template <class T>
void read_number(const Json& object, const char* name, std::optional<T>& out) {
  const auto it = object.find(name);
  if (it != object.end() && it->is_number()) out = it->get<T>();
}

GenerationDefaults read_defaults(const Json& json) {
  GenerationDefaults d;
  read_number(json, "temperature", d.temperature);
  read_number(json, "top_p", d.top_p);
  read_number(json, "min_p", d.min_p);
  read_number(json, "repetition_penalty", d.repetition_penalty);
  read_number(json, "top_k", d.top_k);
  if (const auto it = json.find("do_sample"); it != json.end() && *it == false) d.temperature = 0.0f;
  return d;
}

Result<std::shared_ptr<const ChatTemplate>> read_template(const std::string& folder, const std::string& file) {
  if (!file.empty()) {
    TRY(std::string source, read_file(file));
    return ChatTemplate::parse(std::move(source));
  }
  auto loaded = load_chat_template(folder);
  if (!loaded.ok() && loaded.error().code == Code::kNotFound) return std::shared_ptr<const ChatTemplate>();
  return loaded;
}

std::vector<TokenId> find_eos_ids(const Json& generation, const Json& config, const Tokenizer& tokenizer) {
  auto ids = read_ids(generation, "eos_token_id");
  if (ids.empty()) ids = read_ids(config, "eos_token_id");
  if (ids.empty() && config.contains("text_config")) ids = read_ids(config["text_config"], "eos_token_id");
  if (!ids.empty()) return ids;
  if (const auto id = tokenizer.id(tokenizer.role("eos_token"))) ids.push_back(*id);
  return ids;
}

Json one_message(Json content) {
  Json message = {{"role", "user"}, {"content", std::move(content)}};
  return {{"messages", Json::array({message})},
          {"tools", nullptr},
          {"add_generation_prompt", true},
          {"bos_token", ""},
          {"eos_token", ""}};
}

Result<std::string> render_probe(const ChatTemplate& chat_template, const Json& vars) {
  return chat_template.render(vars, std::tm{.tm_mday = 1, .tm_year = 100});
}

// The prompt of a chat that asks for thinking; empty when there is no template or it fails.
std::string thinking_prompt(const ChatTemplate* chat_template) {
  if (!chat_template) return "";
  Json vars = one_message("Hi");
  vars["enable_thinking"] = vars["thinking"] = true;
  const auto text = render_probe(*chat_template, vars);
  return text.ok() ? *text : "";
}

// A harmony turn ends with <|return|> or <|call|>, whatever the files say, and never with a message of it, <|end|>.
void mend_harmony_stops(const ReasoningFormat& format, std::vector<TokenId>& eos_ids) {
  for (const ReasoningTag& tag : format.tags) {
    if (tag.id < 0) continue;
    if (tag.role == ReasoningTag::Role::kEnd) std::erase(eos_ids, tag.id);
    if (tag.role == ReasoningTag::Role::kStop && std::find(eos_ids.begin(), eos_ids.end(), tag.id) == eos_ids.end())
      eos_ids.push_back(tag.id);
  }
}

Status add_reasoning(ModelContext& context, const Json& config, const std::string& parser) {
  const auto type = config.find("model_type");
  const std::string model_type = type != config.end() && type->is_string() ? type->get<std::string>() : "";
  const auto found =
      find_reasoning_format(model_type, *context.tokenizer, thinking_prompt(context.chat_template.get()));
  if (found && found->kind == ReasoningFormat::Kind::kHarmony) mend_harmony_stops(*found, context.eos_ids);
  if (parser == "auto") {
    context.reasoning = found;
  } else if (parser != "none") {
    TRY(context.reasoning, make_reasoning_format(parser, *context.tokenizer));
  }
  return {};
}

}  // namespace

Status add_image_processor(ModelContext& context, const EngineInfo& engine, const ImageOptions& options) {
  if (!engine.images) return {};
  TRY(context.images, ImageProcessor::load(context.model_path, options));
  if (!context.images)
    return internal_error("The engine takes images, but the checkpoint describes no image processor.");
  return {};
}

bool probe_template_takes_parts(const ChatTemplate& chat_template) {
  const std::string marker = "xylemprobe";
  Json part = {{"type", "text"}, {"text", marker}};
  const auto text = render_probe(chat_template, one_message(Json::array({part})));
  // A template that does not know parts fails, drops them, or prints the list itself.
  return text.ok() && text->find(marker) != std::string::npos && text->find("'type'") == std::string::npos &&
         text->find("\"type\"") == std::string::npos;
}

Result<ModelContext> load_model_context(const std::string& folder, const std::string& chat_template_file,
                                        const std::string& reasoning_parser) {
  ModelContext context;
  context.model_path = folder;
  TRY(context.tokenizer, Tokenizer::load(folder));
  TRY(context.chat_template, read_template(folder, chat_template_file));
  context.template_takes_parts = context.chat_template && probe_template_takes_parts(*context.chat_template);
  const std::filesystem::path base(folder);
  TRY(const Json generation, read_json_file((base / "generation_config.json").string()));
  TRY(const Json config, read_json_file((base / "config.json").string()));
  context.defaults = read_defaults(generation);
  context.eos_ids = find_eos_ids(generation, config, *context.tokenizer);
  context.suppress_ids = read_ids(generation, "suppress_tokens");
  TRY_VOID(add_reasoning(context, config, reasoning_parser));
  return context;
}

}  // namespace xylem
