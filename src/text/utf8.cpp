#include "text/utf8.h"

#include <simdjson.h>

namespace xylem::utf8 {

void append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

Scan scan(std::string_view s) {
  const unsigned b0 = static_cast<unsigned char>(s[0]);
  if (b0 < 0x80) return {Form::kComplete, 1};
  if (b0 < 0xC2 || b0 > 0xF4) return {Form::kInvalid, 1};
  const size_t length = b0 < 0xE0 ? 2 : b0 < 0xF0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and values above U+10FFFF.
  unsigned low = b0 == 0xE0 ? 0xA0 : b0 == 0xF0 ? 0x90 : 0x80;
  unsigned high = b0 == 0xED ? 0x9F : b0 == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == s.size()) return {Form::kIncomplete, i};
    const unsigned b = static_cast<unsigned char>(s[i]);
    if (b < low || b > high) return {Form::kInvalid, i};
    low = 0x80, high = 0xBF;
  }
  return {Form::kComplete, length};
}

bool valid(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

size_t append_lossy(std::string& out, std::string_view bytes) {
  size_t used = 0, copied = 0;  // bytes before `copied` are in out
  while (used < bytes.size()) {
    const Scan s = scan(bytes.substr(used));
    if (s.form == Form::kIncomplete) break;
    if (s.form == Form::kInvalid) {
      out.append(bytes, copied, used - copied);
      out += kReplacement;
      copied = used + s.bytes;
    }
    used += s.bytes;
  }
  out.append(bytes, copied, used - copied);
  return used;
}

}  // namespace xylem::utf8
