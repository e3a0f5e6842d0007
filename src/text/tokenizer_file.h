// The files of a tokenizer in a checkpoint folder.
#pragma once
#include <simdjson.h>

#include <map>
#include <string>

#include "base/result.h"

namespace xylem {

// tokenizer.json, or tokenizer.json.xz unpacked. kNotFound when there is neither.
Result<simdjson::padded_string> read_tokenizer_json(const std::string& folder);

// The "..._token" members of tokenizer_config.json: role -> spelling. Empty when there is no such file.
Result<std::map<std::string, std::string, std::less<>>> read_token_roles(const std::string& folder);

}  // namespace xylem
