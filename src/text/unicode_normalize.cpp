#include "text/unicode_normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "text/unicode_data.h"
#include "text/utf8.h"

namespace xylem::unicode {
namespace {

bool composes(NormalForm f) { return f == NormalForm::kNfc || f == NormalForm::kNfkc; }
bool is_compat(NormalForm f) { return f == NormalForm::kNfkc || f == NormalForm::kNfkd; }

bool is_hangul_syllable(char32_t c) { return c >= 0xAC00 && c <= 0xD7A3; }
// Vowels and final consonants: they join what stands before them.
bool is_joining_jamo(char32_t c) { return (c >= 0x1161 && c <= 0x1175) || (c >= 0x11A8 && c <= 0x11C2); }

// May the form change text because of this character?
bool may_change(char32_t c, NormalForm form) {
  if (c < (composes(form) && !is_compat(form) ? 0x300u : 0x80u)) return false;
  if (is_hangul_syllable(c)) return !composes(form);
  if (is_joining_jamo(c)) return composes(form);
  const utf8proc_property_t* p = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  if (p->combining_class != 0) return true;
  if (p->decomp_seqindex != UINT16_MAX && (p->decomp_type == 0 || is_compat(form))) return true;
  return composes(form) && p->comb_index != UINT16_MAX && (p->comb_index & 0x8000) != 0;
}

bool unchanged(std::string_view text, NormalForm form) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const utf8::Char c = utf8::decode(text.data() + i);
    if (may_change(c.code, form)) return false;
    i += c.bytes;
  }
  return true;
}

using Codes = std::vector<utf8proc_int32_t>;

void append_decomposed(Codes& out, char32_t c, utf8proc_option_t options) {
  utf8proc_int32_t parts[32];  // the longest decomposition has 18
  int last_boundary = 0;
  const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 32, options, &last_boundary);
  for (int i = 0; i < n; ++i) out.push_back(parts[i]);
}

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// utf8proc orders marks by exchanging neighbours, which is quadratic; a hostile run of marks may be a megabyte.
void order_marks(Codes& codes) {
  for (size_t i = 0; i < codes.size();) {
    if (combining_class(codes[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + i, codes.begin() + end,
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
}

// Normalises what lies between two inert characters and appends it to out.
void flush(Codes& codes, NormalForm form, std::string& out) {
  order_marks(codes);
  auto n = static_cast<utf8proc_ssize_t>(codes.size());
  if (composes(form) && n > 0) {
    n = utf8proc_normalize_utf32(codes.data(), n, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  }
  for (utf8proc_ssize_t i = 0; i < n; ++i) utf8::append(out, static_cast<char32_t>(codes[i]));
  codes.clear();
}

char32_t lower(char32_t c) {
  // Younger than utf8proc's Unicode.
  if (c >= 0x16EA0 && c <= 0x16EB8) return c + 0x1B;
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
  switch (c) {
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA:
      return c + 1;
    case 0xA7CB:
      return 0x264;
    case 0xA7DC:
      return 0x19B;
    default:
      return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  }
}

}  // namespace

std::string normalize(std::string_view text, NormalForm form) {
  if (unchanged(text, form)) return std::string(text);
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (is_compat(form) ? UTF8PROC_COMPAT : 0));
  std::string out;
  out.reserve(text.size());
  Codes codes;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::decode(text.data() + i);
    if (is_normalization_inert(c.code)) {
      flush(codes, form, out);
      out.append(text, i, c.bytes);
    } else {
      append_decomposed(codes, c.code, options);
    }
    i += c.bytes;
  }
  flush(codes, form, out);
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::decode(text.data() + i);
    if (c.code == 0x130) {
      out += "i\xCC\x87";  // the only character whose lower case is two
    } else {
      utf8::append(out, lower(c.code));
    }
    i += c.bytes;
  }
  return out;
}

}  // namespace xylem::unicode
