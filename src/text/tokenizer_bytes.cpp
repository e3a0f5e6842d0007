#include "text/tokenizer_bytes.h"

#include <array>

#include "text/utf8.h"

namespace xylem::byte_alphabet {
namespace {

constexpr bool stands_for_itself(unsigned b) { return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; }

struct Tables {
  std::array<char32_t, 256> character{};
  std::array<int, 0x144> byte{};
};
constexpr Tables make_tables() {
  Tables t;
  for (int& b : t.byte) b = -1;
  unsigned next = 256;
  for (unsigned b = 0; b < 256; ++b) {
    const unsigned c = stands_for_itself(b) ? b : next++;
    t.character[b] = c;
    t.byte[c] = static_cast<int>(b);
  }
  return t;
}
constexpr Tables kTables = make_tables();

}  // namespace

char32_t character(unsigned char byte) { return kTables.character[byte]; }

std::optional<unsigned char> byte(char32_t c) {
  if (c >= kTables.byte.size() || kTables.byte[c] < 0) return std::nullopt;
  return static_cast<unsigned char>(kTables.byte[c]);
}

void append_spelled(std::string& out, std::string_view bytes) {
  for (const char b : bytes) utf8::append(out, character(static_cast<unsigned char>(b)));
}

std::string spell(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  append_spelled(out, bytes);
  return out;
}

std::string bytes_of(std::string_view token) {
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const utf8::Char c = utf8::decode(token.data() + i);
    const auto b = byte(c.code);
    if (!b) return std::string(token);
    out += static_cast<char>(*b);
    i += c.bytes;
  }
  return out;
}

}  // namespace xylem::byte_alphabet
