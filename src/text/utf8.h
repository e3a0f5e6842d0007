// UTF-8, one character at a time.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace xylem::utf8 {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Char {
  char32_t code;
  int bytes;
};

// The character at p of text known to be valid.
inline Char decode(const char* p) {
  auto b = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  if (b(0) < 0x80) return {b(0), 1};
  if (b(0) < 0xE0) return {(b(0) & 0x1F) << 6 | (b(1) & 0x3F), 2};
  if (b(0) < 0xF0) return {(b(0) & 0x0F) << 12 | (b(1) & 0x3F) << 6 | (b(2) & 0x3F), 3};
  return {(b(0) & 0x07) << 18 | (b(1) & 0x3F) << 12 | (b(2) & 0x3F) << 6 | (b(3) & 0x3F), 4};
}

// The character that ends right before position end > 0 of text known to be valid.
inline Char decode_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return decode(text.data() + begin);
}

// code must be a Unicode scalar value.
void append(std::string& out, char32_t code);

enum class Form { kComplete, kInvalid, kIncomplete };
struct Scan {
  Form form;
  size_t bytes;  // of the character; of the maximal ill-formed part; of the beginning seen so far
};
// Looks at the start of any non-empty bytes. kIncomplete: all of s is the beginning of a character.
Scan scan(std::string_view s);

bool valid(std::string_view text);

// Appends the decodable part of bytes to out, U+FFFD for every maximal ill-formed part (as Rust's from_utf8_lossy), and
// returns how many bytes it used: an incomplete character at the end is left over.
size_t append_lossy(std::string& out, std::string_view bytes);

}  // namespace xylem::utf8
