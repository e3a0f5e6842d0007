// Chat templates: the subset of Jinja2 that released templates use, set up as Hugging Face transformers does
// (trim_blocks, lstrip_blocks, loop controls, tojson without ASCII escapes, raise_exception, strftime_now).
#pragma once
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"

namespace xylem {

// Immutable; render() may be called from many threads.
class ChatTemplate {
 public:
  // An unsupported construct or a syntax error names its line.
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string source);
  ~ChatTemplate();

  // vars: messages, tools, add_generation_prompt, bos_token, eos_token, enable_thinking ... in document order.
  // now: what strftime_now sees. raise_exception("...") in the template becomes Code::kInvalid with its text; so does
  // anything else that goes wrong while rendering, with the line.
  Result<std::string> render(const nlohmann::ordered_json& vars, std::tm now) const;

  struct Impl;

 private:
  ChatTemplate();
  std::unique_ptr<Impl> impl_;
};

// The template of a checkpoint folder: chat_template.jinja, else chat_template in tokenizer_config.json (a string, or a
// list of {name, template} of which "default" is taken). kNotFound when there is none.
Result<std::shared_ptr<const ChatTemplate>> load_chat_template(const std::string& folder);

}  // namespace xylem
