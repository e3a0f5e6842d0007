#include "text/reasoning_formats.h"

#include <algorithm>

namespace xylem {
namespace {

using Role = ReasoningTag::Role;

// The names are SGLang's.
struct Named {
  std::string_view name;
  std::string_view open, close;  // empty: harmony
  std::string_view label = {}, tool = {};
  bool always_starts = false;
};
constexpr Named kFormats[] = {
    {"deepseek-r1", "<think>", "</think>", {}, {}, true},
    {"deepseek-v3", "<think>", "</think>"},
    {"gemma4", "<|channel>", "<channel|>", "thought\n"},
    {"glm45", "<think>", "</think>", {}, "<tool_call>"},
    {"gpt-oss", {}, {}},
    {"kimi", "◁think▷", "◁/think▷"},
    {"kimi_k2", "<think>", "</think>", {}, "<|tool_calls_section_begin|>"},
    {"mistral", "[THINK]", "[/THINK]"},
    {"qwen3", "<think>", "</think>", {}, "<tool_call>"},
    {"qwen3-thinking", "<think>", "</think>", {}, "<tool_call>", true},
};

// Families by the beginning of model_type; every other may have been trained to think in DeepSeek's tags.
struct Family {
  std::string_view model_type, name;
};
constexpr Family kFamilies[] = {{"gemma4", "gemma4"},   {"gpt_oss", "gpt-oss"}, {"qwen3", "qwen3"}, {"glm4", "glm45"},
                                {"kimi_k2", "kimi_k2"}, {"mistral", "mistral"}, {"", "deepseek-v3"}};

const Named* find_named(std::string_view name) {
  const auto* it = std::find_if(std::begin(kFormats), std::end(kFormats), [&](auto& f) { return f.name == name; });
  return it == std::end(kFormats) ? nullptr : it;
}

std::shared_ptr<const ReasoningFormat> make(const Named& named, const Tokenizer& tokenizer) {
  auto format = std::make_shared<ReasoningFormat>();
  format->name = named.name;
  format->label = named.label;
  format->always_starts = named.always_starts;
  const auto add = [&](Role role, std::string_view text) {
    if (!text.empty()) format->tags.push_back({role, std::string(text), tokenizer.id(text).value_or(-1)});
  };
  if (named.open.empty()) {
    format->kind = ReasoningFormat::Kind::kHarmony;
    add(Role::kStart, "<|start|>");
    add(Role::kChannel, "<|channel|>");
    add(Role::kMessage, "<|message|>");
    add(Role::kConstrain, "<|constrain|>");
    add(Role::kEnd, "<|end|>");
    add(Role::kStop, "<|return|>");
    add(Role::kStop, "<|call|>");
  } else {
    add(Role::kOpen, named.open);
    add(Role::kClose, named.close);
    add(Role::kTool, named.tool);
  }
  return format;
}

// The tags without which there is nothing to split are tokens, or the prompt shows the first of them as text.
bool is_usable(const ReasoningFormat& format, std::string_view prompt) {
  bool tokens = true, shown = false;
  for (const ReasoningTag& tag : format.tags) {
    if (tag.role == Role::kTool || tag.role == Role::kConstrain || tag.role == Role::kStop) continue;
    tokens = tokens && tag.id >= 0;
    shown = shown || ((tag.role == Role::kOpen || tag.role == Role::kStart) && prompt.find(tag.text) != prompt.npos);
  }
  return tokens || shown;
}

}  // namespace

std::string reasoning_parser_names() {
  std::string names = "auto, none";
  for (const Named& f : kFormats) names.append(", ").append(f.name);
  return names;
}

Result<std::shared_ptr<const ReasoningFormat>> make_reasoning_format(std::string_view name,
                                                                     const Tokenizer& tokenizer) {
  if (const Named* named = find_named(name)) return make(*named, tokenizer);
  return invalid("Unknown reasoning parser \"" + std::string(name) + "\". Known are: " + reasoning_parser_names() +
                 ".");
}

std::shared_ptr<const ReasoningFormat> find_reasoning_format(std::string_view model_type, const Tokenizer& tokenizer,
                                                             std::string_view prompt) {
  for (const Family& family : kFamilies) {
    if (!model_type.starts_with(family.model_type)) continue;
    auto format = make(*find_named(family.name), tokenizer);
    return is_usable(*format, prompt) ? format : nullptr;
  }
  return nullptr;
}

}  // namespace xylem
