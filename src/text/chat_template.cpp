#include "text/chat_template.h"

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "text/jinja_interp.h"
#include "text/jinja_parser.h"

namespace xylem {

struct ChatTemplate::Impl {
  std::shared_ptr<const jinja::Template> parsed;
};

ChatTemplate::ChatTemplate() : impl_(std::make_unique<Impl>()) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string source) {
  std::shared_ptr<ChatTemplate> t(new ChatTemplate());
  TRY(t->impl_->parsed, jinja::parse_template(source));
  return std::shared_ptr<const ChatTemplate>(std::move(t));
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& vars, std::tm now) const {
  return jinja::render(*impl_->parsed, vars, now);
}

namespace {

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// The template inside a tokenizer_config.json; empty when it has none.
std::string template_of_config(const nlohmann::json& config) {
  if (!config.is_object() || !config.contains("chat_template")) return "";
  const auto& t = config["chat_template"];
  if (t.is_string()) return t.get<std::string>();
  if (!t.is_array()) return "";
  for (const auto& named : t) {
    if (!named.is_object() || !named.contains("name") || named["name"] != "default") continue;
    if (named.contains("template") && named["template"].is_string()) return named["template"].get<std::string>();
  }
  return "";
}

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> load_chat_template(const std::string& folder) {
  const std::filesystem::path dir(folder);
  if (auto text = read_file(dir / "chat_template.jinja")) return ChatTemplate::parse(std::move(*text));
  auto config = read_file(dir / "tokenizer_config.json");
  if (!config)
    return not_found(folder + " has neither chat_template.jinja nor tokenizer_config.json: no chat template");
  const auto json = nlohmann::json::parse(*config, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return invalid(folder + "/tokenizer_config.json is not valid JSON");
  std::string text = template_of_config(json);
  if (text.empty()) return not_found(folder + " has no chat template: add chat_template.jinja");
  return ChatTemplate::parse(std::move(text));
}

}  // namespace xylem
