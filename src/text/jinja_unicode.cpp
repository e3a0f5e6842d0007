#include "text/jinja_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

namespace xylem::jinja {

bool is_ascii(std::string_view s) {
  unsigned char all = 0;
  for (char c : s) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

uint32_t next_code_point(std::string_view s, size_t& i) {
  const auto byte = static_cast<unsigned char>(s[i]);
  if (byte < 0x80) return ++i, byte;
  utf8proc_int32_t c;
  auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(s.data()) + i,
                            static_cast<utf8proc_ssize_t>(s.size() - i), &c);
  if (n <= 0) return ++i, byte;
  i += static_cast<size_t>(n);
  return static_cast<uint32_t>(c);
}

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  utf8proc_uint8_t buf[4];
  auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), buf);
  out.append(reinterpret_cast<char*>(buf), static_cast<size_t>(n));
}

int64_t count_code_points(std::string_view s) {
  int64_t n = 0;
  for (size_t i = 0; i < s.size(); ++n) next_code_point(s, i);
  return n;
}

namespace {
constexpr size_t kLongNeedle = 32;  // beyond, the simple search may take quadratic time
}

size_t find_text(std::string_view s, std::string_view needle, size_t from) {
  if (needle.size() < kLongNeedle || from > s.size()) return s.find(needle, from);
  const void* p = memmem(s.data() + from, s.size() - from, needle.data(), needle.size());
  return p ? static_cast<size_t>(static_cast<const char*>(p) - s.data()) : s.npos;
}

std::vector<size_t> rfind_all(std::string_view s, std::string_view needle, int64_t max) {
  std::vector<size_t> out;
  auto full = [&] { return max >= 0 && static_cast<int64_t>(out.size()) >= max; };
  if (needle.size() < kLongNeedle) {
    size_t end = s.size();
    for (size_t at; !full() && (at = s.substr(0, end).rfind(needle)) != s.npos; end = at) out.push_back(at);
    return out;
  }
  const std::string back(s.rbegin(), s.rend()), key(needle.rbegin(), needle.rend());
  size_t from = 0;
  for (size_t at; !full() && (at = find_text(back, key, from)) != back.npos; from = at + key.size())
    out.push_back(s.size() - at - key.size());
  return out;
}

size_t offset_of(std::string_view s, int64_t n) {
  size_t i = 0;
  for (; n > 0 && i < s.size(); --n) next_code_point(s, i);
  return i;
}

bool is_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

namespace {
utf8proc_category_t category(uint32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
}  // namespace

bool is_printable(uint32_t c) {
  if (c < 0x80) return c >= 0x20 && c != 0x7F;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(uint32_t c) {
  auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(uint32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(uint32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247C) ||
         (c >= 0x2488 && c <= 0x2490);
}

bool is_numeric(uint32_t c) {
  auto k = category(c);
  return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool is_upper(uint32_t c) { return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216F); }
bool is_lower(uint32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA || (c >= 0x2170 && c <= 0x217F);
}
bool is_title(uint32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }
bool is_word(uint32_t c) { return c == '_' || is_alpha(c) || is_numeric(c); }

namespace {

bool is_cased(uint32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

// The characters whose upper or title case is more than one (the frequent ones of Unicode's SpecialCasing).
const char* special_upper(uint32_t c, bool titled) {
  switch (c) {
    case 0xDF:
      return titled ? "Ss" : "SS";
    case 0x149:
      return "\u02BCN";
    case 0x1F0:
      return "J\u030C";
    case 0x587:
      return titled ? "\u0535\u0582" : "\u0535\u0552";
    case 0xFB00:
      return titled ? "Ff" : "FF";
    case 0xFB01:
      return titled ? "Fi" : "FI";
    case 0xFB02:
      return titled ? "Fl" : "FL";
    case 0xFB03:
      return titled ? "Ffi" : "FFI";
    case 0xFB04:
      return titled ? "Ffl" : "FFL";
    case 0xFB05:
    case 0xFB06:
      return titled ? "St" : "ST";
    default:
      return nullptr;
  }
}

void append_upper(std::string& out, uint32_t c, bool titled) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  } else if (const char* s = special_upper(c, titled)) {
    out += s;
  } else {
    auto x = static_cast<utf8proc_int32_t>(c);
    append_utf8(out, static_cast<uint32_t>(titled ? utf8proc_totitle(x) : utf8proc_toupper(x)));
  }
}

// Start of the character that ends at i > 0.
size_t previous(std::string_view s, size_t i) {
  size_t j = i - 1;
  while (j > 0 && i - j < 4 && (static_cast<unsigned char>(s[j]) & 0xC0) == 0x80) --j;
  size_t k = j;
  next_code_point(s, k);
  return k == i ? j : i - 1;  // bytes that form no character stand alone
}

bool is_case_ignorable(uint32_t c) { return c == '\'' || c == 0xAD || category(c) == UTF8PROC_CATEGORY_MN; }

// A capital sigma at the end of a word becomes the final form.
bool final_sigma(std::string_view s, size_t begin, size_t end) {
  bool before = false;
  while (begin > 0) {
    size_t i = begin = previous(s, begin);
    const uint32_t c = next_code_point(s, i);
    if (is_case_ignorable(c)) continue;
    before = is_cased(c);
    break;
  }
  while (before && end < s.size()) {
    const uint32_t c = next_code_point(s, end);
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return before;
}

void append_lower(std::string& out, std::string_view s, size_t begin, size_t end, uint32_t c) {
  if (c < 0x80)
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  else if (c == 0x130)
    out += "i\u0307";
  else if (c == 0x3A3)
    out += final_sigma(s, begin, end) ? "\u03C2" : "\u03C3";
  else
    append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

}  // namespace

std::string upper(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0; i < s.size();) append_upper(out, next_code_point(s, i), false);
  return out;
}

std::string lower(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0; i < s.size();) {
    const size_t begin = i;
    const uint32_t c = next_code_point(s, i);
    append_lower(out, s, begin, i, c);
  }
  return out;
}

std::string capitalize(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    const size_t begin = i;
    const uint32_t c = next_code_point(s, i);
    if (begin == 0)
      append_upper(out, c, true);
    else
      append_lower(out, s, begin, i, c);
  }
  return out;
}

std::string title(std::string_view s) {
  std::string out;
  bool in_word = false;
  for (size_t i = 0; i < s.size();) {
    const size_t begin = i;
    const uint32_t c = next_code_point(s, i);
    if (in_word)
      append_lower(out, s, begin, i, c);
    else
      append_upper(out, c, true);
    in_word = is_cased(c);
  }
  return out;
}

std::string swapcase(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    const size_t begin = i;
    const uint32_t c = next_code_point(s, i);
    if (is_lower(c))
      append_upper(out, c, false);
    else
      append_lower(out, s, begin, i, c);
  }
  return out;
}

namespace {

template <class In>
std::string_view strip_if(std::string_view s, Side side, In in) {
  size_t begin = 0, end = s.size();
  while ((side & kLeft) && begin < end) {
    size_t next = begin;
    if (!in(next_code_point(s, next))) break;
    begin = next;
  }
  while ((side & kRight) && end > begin) {
    size_t last = previous(s, end), i = last;
    if (!in(next_code_point(s, i))) break;
    end = last;
  }
  return s.substr(begin, end - begin);
}

bool is_line_end(uint32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

std::string_view strip(std::string_view s, Side side) { return strip_if(s, side, is_space); }

std::string_view strip_chars(std::string_view s, std::string_view chars, Side side) {
  std::vector<uint32_t> set;
  for (size_t i = 0; i < chars.size();) set.push_back(next_code_point(chars, i));
  std::sort(set.begin(), set.end());
  return strip_if(s, side, [&](uint32_t c) { return std::binary_search(set.begin(), set.end(), c); });
}

std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (size_t i = 0; i < s.size();) {
    const size_t end = i;
    const uint32_t c = next_code_point(s, i);
    if (!is_line_end(c)) continue;
    if (c == '\r' && i < s.size() && s[i] == '\n') ++i;
    out.push_back(s.substr(begin, (keep_ends ? i : end) - begin));
    begin = i;
  }
  if (begin < s.size()) out.push_back(s.substr(begin));
  return out;
}

std::vector<std::string_view> split_space(std::string_view s, int64_t max_split) {
  std::vector<std::string_view> out;
  for (s = strip(s, kLeft); !s.empty(); s = strip(s, kLeft)) {
    if (max_split >= 0 && static_cast<int64_t>(out.size()) == max_split) {
      out.push_back(s);
      break;
    }
    size_t end = 0;
    for (size_t i = 0; i < s.size(); end = i)
      if (is_space(next_code_point(s, i))) break;
    out.push_back(s.substr(0, end));
    s.remove_prefix(end);
  }
  return out;
}

std::vector<std::string_view> rsplit_space(std::string_view s, int64_t max_split) {
  std::vector<std::string_view> out;
  for (s = strip(s, kRight); !s.empty(); s = strip(s, kRight)) {
    if (max_split >= 0 && static_cast<int64_t>(out.size()) == max_split) {
      out.push_back(s);
      break;
    }
    size_t begin = s.size();
    while (begin > 0) {
      size_t before = previous(s, begin), i = before;
      if (is_space(next_code_point(s, i))) break;
      begin = before;
    }
    out.push_back(s.substr(begin));
    s = s.substr(0, begin);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace xylem::jinja
