// Messages of a chat request -> the prompt's token ids.
#pragma once
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "server/body_images.h"

namespace xylem {

struct App;
class Fields;

struct ChatPrompt {
  std::vector<TokenId> ids;
  std::vector<ImageInput> images;
  bool begins_inside = false;  // the answer begins inside reasoning
};

// Reads messages, tools, tool_choice, chat_template_kwargs, reasoning_effort, continue_final_message and
// add_generation_prompt, renders the template and encodes the text. Special tokens spelled out in messages are parsed
// as such, as Hugging Face does. images: those of the messages.
Result<ChatPrompt> read_chat_prompt(const App& app, Fields& fields, const BodyImages& images);

// Whether an answer to these ids begins inside reasoning.
bool begins_inside_reasoning(const App& app, const std::vector<TokenId>& prompt);

}  // namespace xylem
