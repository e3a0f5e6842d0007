// Which format a model uses: by the name of a parser, or found from the checkpoint.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/reasoning.h"
#include "text/tokenizer.h"

namespace xylem {

// The names that make_reasoning_format takes, separated by commas.
std::string reasoning_parser_names();

// The format of that name; the ids of its tags are looked up in the vocabulary, and where a tag has none it is looked
// for in the text. kInvalid lists the known names.
Result<std::shared_ptr<const ReasoningFormat>> make_reasoning_format(std::string_view name, const Tokenizer& tokenizer);

// The format of a checkpoint's family: by its config.json's model_type, and only if the vocabulary has the tags or
// the prompt does (prompt: a rendered chat with thinking asked for; may be empty). Null: it has none.
std::shared_ptr<const ReasoningFormat> find_reasoning_format(std::string_view model_type, const Tokenizer& tokenizer,
                                                             std::string_view prompt);

}  // namespace xylem
