// The byte-level alphabet of GPT-2: every byte has a printable character that stands for it in the vocabulary.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace xylem::byte_alphabet {

char32_t character(unsigned char byte);  // below U+0144
std::optional<unsigned char> byte(char32_t character);

// Every byte as its character.
std::string spell(std::string_view bytes);
void append_spelled(std::string& out, std::string_view bytes);
// The bytes that a token stands for; a token with any other character stands for itself. token must be valid UTF-8.
std::string bytes_of(std::string_view token);

}  // namespace xylem::byte_alphabet
