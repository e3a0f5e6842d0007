// Python's view of characters in UTF-8 strings.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace xylem::jinja {

bool is_ascii(std::string_view s);
// Decodes the character at s[i] and moves i behind it; a byte that starts none is itself a character.
uint32_t next_code_point(std::string_view s, size_t& i);
void append_utf8(std::string& out, uint32_t c);
int64_t count_code_points(std::string_view s);
// First occurrence at or behind from, npos if none, in time linear in the haystack whatever the needle.
size_t find_text(std::string_view s, std::string_view needle, size_t from = 0);
// Offsets of up to max (-1: all) occurrences from the right that do not overlap. needle is not empty.
std::vector<size_t> rfind_all(std::string_view s, std::string_view needle, int64_t max);
// Byte offset of the n-th character; s.size() beyond the end.
size_t offset_of(std::string_view s, int64_t n);

bool is_space(uint32_t c);  // str.isspace of one character
bool is_printable(uint32_t c);
bool is_alpha(uint32_t c);
bool is_digit(uint32_t c);
bool is_decimal(uint32_t c);
bool is_numeric(uint32_t c);
bool is_upper(uint32_t c);
bool is_lower(uint32_t c);
bool is_title(uint32_t c);
bool is_word(uint32_t c);  // \w

std::string upper(std::string_view s);
std::string lower(std::string_view s);
std::string capitalize(std::string_view s);
std::string title(std::string_view s);
std::string swapcase(std::string_view s);

enum Side { kLeft = 1, kRight = 2, kBoth = 3 };
std::string_view strip(std::string_view s, Side side);  // whitespace
std::string_view strip_chars(std::string_view s, std::string_view chars, Side side);
std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends);
std::vector<std::string_view> split_space(std::string_view s, int64_t max_split);  // str.split()
std::vector<std::string_view> rsplit_space(std::string_view s, int64_t max_split);

}  // namespace xylem::jinja
