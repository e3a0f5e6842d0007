// Messages of a chat request -> the prompt's token ids.
#pragma once
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace xylem {

struct App;
class Fields;

// Reads messages, tools, tool_choice, chat_template_kwargs, reasoning_effort, continue_final_message and
// add_generation_prompt, renders the template and encodes the text. Special tokens spelled out in messages are parsed
// as such, as Hugging Face does.
Result<std::vector<TokenId>> read_chat_prompt(const App& app, Fields& fields);

}  // namespace xylem
