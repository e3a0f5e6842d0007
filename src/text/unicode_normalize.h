// Unicode normalisation forms and lower case, as the Rust libraries behind Hugging Face tokenizers compute them.
#pragma once
#include <string>
#include <string_view>

namespace xylem::unicode {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// text must be valid UTF-8; so is the result. Linear in the text but for a sort of each run of combining marks.
std::string normalize(std::string_view text, NormalForm form);

std::string to_lower(std::string_view text);

}  // namespace xylem::unicode
