// Properties of characters. Hugging Face's libraries and ours carry different versions of Unicode; these functions
// answer as theirs do: classes as of Unicode 16 (Oniguruma, Rust), normalisation forms as of Unicode 9.
#pragma once
#include <string>
#include <string_view>

namespace xylem::unicode {

bool is_space(char32_t c);    // White_Space
bool is_numeric(char32_t c);  // general category N
bool is_accent(char32_t c);   // what StripAccents removes: general category M as of Unicode 9
bool is_word(char32_t c);     // \w of Unicode's regular expressions: Alphabetic, M, Nd, Pc, Join_Control

// True for characters that normalisation leaves alone because they are younger than its version of Unicode.
bool is_normalization_inert(char32_t c);

// Replaces every character that the regular expression library's older Unicode classes differently by one of the right
// class and the same length, so that matches in the result are matches in text. Returns text itself when nothing
// changes, else a view of buffer. text must be valid UTF-8.
std::string_view with_known_classes(std::string_view text, std::string& buffer);

}  // namespace xylem::unicode
