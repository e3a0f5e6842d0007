#include "text/unicode_data.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>

#include "text/utf8.h"

namespace xylem::unicode {
namespace {

struct Class {
  char32_t first, last;
  utf8proc_category_t category;
};
// What changed from Unicode 14 (utf8proc 2.8, PCRE2 10.42) to Unicode 16.
constexpr Class kChanged[] = {
    {0x897, 0x897, UTF8PROC_CATEGORY_MN},     {0xCF3, 0xCF3, UTF8PROC_CATEGORY_MC},
    {0xECE, 0xECE, UTF8PROC_CATEGORY_MN},     {0x1B4E, 0x1B4F, UTF8PROC_CATEGORY_PO},
    {0x1B7F, 0x1B7F, UTF8PROC_CATEGORY_PO},   {0x1C89, 0x1C89, UTF8PROC_CATEGORY_LU},
    {0x1C8A, 0x1C8A, UTF8PROC_CATEGORY_LL},   {0x2427, 0x2429, UTF8PROC_CATEGORY_SO},
    {0x2FFC, 0x2FFF, UTF8PROC_CATEGORY_SO},   {0x31E4, 0x31E5, UTF8PROC_CATEGORY_SO},
    {0x31EF, 0x31EF, UTF8PROC_CATEGORY_SO},   {0xA7CB, 0xA7CC, UTF8PROC_CATEGORY_LU},
    {0xA7CD, 0xA7CD, UTF8PROC_CATEGORY_LL},   {0xA7DA, 0xA7DA, UTF8PROC_CATEGORY_LU},
    {0xA7DB, 0xA7DB, UTF8PROC_CATEGORY_LL},   {0xA7DC, 0xA7DC, UTF8PROC_CATEGORY_LU},
    {0x105C0, 0x105F3, UTF8PROC_CATEGORY_LO}, {0x10D40, 0x10D49, UTF8PROC_CATEGORY_ND},
    {0x10D4A, 0x10D4D, UTF8PROC_CATEGORY_LO}, {0x10D4E, 0x10D4E, UTF8PROC_CATEGORY_LM},
    {0x10D4F, 0x10D4F, UTF8PROC_CATEGORY_LO}, {0x10D50, 0x10D65, UTF8PROC_CATEGORY_LU},
    {0x10D69, 0x10D6D, UTF8PROC_CATEGORY_MN}, {0x10D6E, 0x10D6E, UTF8PROC_CATEGORY_PD},
    {0x10D6F, 0x10D6F, UTF8PROC_CATEGORY_LM}, {0x10D70, 0x10D85, UTF8PROC_CATEGORY_LL},
    {0x10D8E, 0x10D8F, UTF8PROC_CATEGORY_SM}, {0x10EC2, 0x10EC4, UTF8PROC_CATEGORY_LO},
    {0x10EFC, 0x10EFF, UTF8PROC_CATEGORY_MN}, {0x1123F, 0x11240, UTF8PROC_CATEGORY_LO},
    {0x11241, 0x11241, UTF8PROC_CATEGORY_MN}, {0x11380, 0x11389, UTF8PROC_CATEGORY_LO},
    {0x1138B, 0x1138B, UTF8PROC_CATEGORY_LO}, {0x1138E, 0x1138E, UTF8PROC_CATEGORY_LO},
    {0x11390, 0x113B5, UTF8PROC_CATEGORY_LO}, {0x113B7, 0x113B7, UTF8PROC_CATEGORY_LO},
    {0x113B8, 0x113BA, UTF8PROC_CATEGORY_MC}, {0x113BB, 0x113C0, UTF8PROC_CATEGORY_MN},
    {0x113C2, 0x113C2, UTF8PROC_CATEGORY_MC}, {0x113C5, 0x113C5, UTF8PROC_CATEGORY_MC},
    {0x113C7, 0x113CA, UTF8PROC_CATEGORY_MC}, {0x113CC, 0x113CD, UTF8PROC_CATEGORY_MC},
    {0x113CE, 0x113CE, UTF8PROC_CATEGORY_MN}, {0x113CF, 0x113CF, UTF8PROC_CATEGORY_MC},
    {0x113D0, 0x113D0, UTF8PROC_CATEGORY_MN}, {0x113D1, 0x113D1, UTF8PROC_CATEGORY_LO},
    {0x113D2, 0x113D2, UTF8PROC_CATEGORY_MN}, {0x113D3, 0x113D3, UTF8PROC_CATEGORY_LO},
    {0x113D4, 0x113D5, UTF8PROC_CATEGORY_PO}, {0x113D7, 0x113D8, UTF8PROC_CATEGORY_PO},
    {0x113E1, 0x113E2, UTF8PROC_CATEGORY_MN}, {0x116D0, 0x116E3, UTF8PROC_CATEGORY_ND},
    {0x1171E, 0x1171E, UTF8PROC_CATEGORY_MC}, {0x11B00, 0x11B09, UTF8PROC_CATEGORY_PO},
    {0x11BC0, 0x11BE0, UTF8PROC_CATEGORY_LO}, {0x11BE1, 0x11BE1, UTF8PROC_CATEGORY_PO},
    {0x11BF0, 0x11BF9, UTF8PROC_CATEGORY_ND}, {0x11F00, 0x11F01, UTF8PROC_CATEGORY_MN},
    {0x11F02, 0x11F02, UTF8PROC_CATEGORY_LO}, {0x11F03, 0x11F03, UTF8PROC_CATEGORY_MC},
    {0x11F04, 0x11F10, UTF8PROC_CATEGORY_LO}, {0x11F12, 0x11F33, UTF8PROC_CATEGORY_LO},
    {0x11F34, 0x11F35, UTF8PROC_CATEGORY_MC}, {0x11F36, 0x11F3A, UTF8PROC_CATEGORY_MN},
    {0x11F3E, 0x11F3F, UTF8PROC_CATEGORY_MC}, {0x11F40, 0x11F40, UTF8PROC_CATEGORY_MN},
    {0x11F41, 0x11F41, UTF8PROC_CATEGORY_MC}, {0x11F42, 0x11F42, UTF8PROC_CATEGORY_MN},
    {0x11F43, 0x11F4F, UTF8PROC_CATEGORY_PO}, {0x11F50, 0x11F59, UTF8PROC_CATEGORY_ND},
    {0x11F5A, 0x11F5A, UTF8PROC_CATEGORY_MN}, {0x1342F, 0x1342F, UTF8PROC_CATEGORY_LO},
    {0x13439, 0x1343F, UTF8PROC_CATEGORY_CF}, {0x13440, 0x13440, UTF8PROC_CATEGORY_MN},
    {0x13441, 0x13446, UTF8PROC_CATEGORY_LO}, {0x13447, 0x13455, UTF8PROC_CATEGORY_MN},
    {0x13460, 0x143FA, UTF8PROC_CATEGORY_LO}, {0x16100, 0x1611D, UTF8PROC_CATEGORY_LO},
    {0x1611E, 0x16129, UTF8PROC_CATEGORY_MN}, {0x1612A, 0x1612C, UTF8PROC_CATEGORY_MC},
    {0x1612D, 0x1612F, UTF8PROC_CATEGORY_MN}, {0x16130, 0x16139, UTF8PROC_CATEGORY_ND},
    {0x16D40, 0x16D42, UTF8PROC_CATEGORY_LM}, {0x16D43, 0x16D6A, UTF8PROC_CATEGORY_LO},
    {0x16D6B, 0x16D6C, UTF8PROC_CATEGORY_LM}, {0x16D6D, 0x16D6F, UTF8PROC_CATEGORY_PO},
    {0x16D70, 0x16D79, UTF8PROC_CATEGORY_ND}, {0x18CFF, 0x18CFF, UTF8PROC_CATEGORY_LO},
    {0x1B132, 0x1B132, UTF8PROC_CATEGORY_LO}, {0x1B155, 0x1B155, UTF8PROC_CATEGORY_LO},
    {0x1CC00, 0x1CCEF, UTF8PROC_CATEGORY_SO}, {0x1CCF0, 0x1CCF9, UTF8PROC_CATEGORY_ND},
    {0x1CD00, 0x1CEB3, UTF8PROC_CATEGORY_SO}, {0x1D2C0, 0x1D2D3, UTF8PROC_CATEGORY_NO},
    {0x1DF25, 0x1DF2A, UTF8PROC_CATEGORY_LL}, {0x1E030, 0x1E06D, UTF8PROC_CATEGORY_LM},
    {0x1E08F, 0x1E08F, UTF8PROC_CATEGORY_MN}, {0x1E4D0, 0x1E4EA, UTF8PROC_CATEGORY_LO},
    {0x1E4EB, 0x1E4EB, UTF8PROC_CATEGORY_LM}, {0x1E4EC, 0x1E4EF, UTF8PROC_CATEGORY_MN},
    {0x1E4F0, 0x1E4F9, UTF8PROC_CATEGORY_ND}, {0x1E5D0, 0x1E5ED, UTF8PROC_CATEGORY_LO},
    {0x1E5EE, 0x1E5EF, UTF8PROC_CATEGORY_MN}, {0x1E5F0, 0x1E5F0, UTF8PROC_CATEGORY_LO},
    {0x1E5F1, 0x1E5FA, UTF8PROC_CATEGORY_ND}, {0x1E5FF, 0x1E5FF, UTF8PROC_CATEGORY_PO},
    {0x1F6DC, 0x1F6DC, UTF8PROC_CATEGORY_SO}, {0x1F774, 0x1F776, UTF8PROC_CATEGORY_SO},
    {0x1F77B, 0x1F77F, UTF8PROC_CATEGORY_SO}, {0x1F7D9, 0x1F7D9, UTF8PROC_CATEGORY_SO},
    {0x1F8B2, 0x1F8BB, UTF8PROC_CATEGORY_SO}, {0x1F8C0, 0x1F8C1, UTF8PROC_CATEGORY_SO},
    {0x1FA75, 0x1FA77, UTF8PROC_CATEGORY_SO}, {0x1FA87, 0x1FA89, UTF8PROC_CATEGORY_SO},
    {0x1FA8F, 0x1FA8F, UTF8PROC_CATEGORY_SO}, {0x1FAAD, 0x1FAAF, UTF8PROC_CATEGORY_SO},
    {0x1FABB, 0x1FABF, UTF8PROC_CATEGORY_SO}, {0x1FAC6, 0x1FAC6, UTF8PROC_CATEGORY_SO},
    {0x1FACE, 0x1FACF, UTF8PROC_CATEGORY_SO}, {0x1FADA, 0x1FADC, UTF8PROC_CATEGORY_SO},
    {0x1FADF, 0x1FADF, UTF8PROC_CATEGORY_SO}, {0x1FAE8, 0x1FAE9, UTF8PROC_CATEGORY_SO},
    {0x1FAF7, 0x1FAF8, UTF8PROC_CATEGORY_SO}, {0x1FBCB, 0x1FBEF, UTF8PROC_CATEGORY_SO},
    {0x2B739, 0x2B739, UTF8PROC_CATEGORY_LO}, {0x2EBF0, 0x2EE5D, UTF8PROC_CATEGORY_LO},
    {0x31350, 0x323AF, UTF8PROC_CATEGORY_LO},
};

struct Range {
  char32_t first, last;
};
constexpr Range kNormalizationInert[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x10781, 0x10785},
    {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

// Marks that StripAccents leaves because they are younger than Unicode 9, and two that ceased to be marks.
constexpr Range kYoungMarks[] = {
    {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xAFA, 0xAFF},
    {0xB55, 0xB55},     {0xC04, 0xC04},     {0xC3C, 0xC3C},     {0xCF3, 0xCF3},     {0xD00, 0xD00},
    {0xD3B, 0xD3C},     {0xD81, 0xD81},     {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x1715, 0x1715},
    {0x180F, 0x180F},   {0x1ABF, 0x1ACE},   {0x1CF7, 0x1CF7},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},
    {0xA8FF, 0xA8FF},   {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10EFC, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x11073, 0x11074}, {0x110C2, 0x110C2},
    {0x11145, 0x11146}, {0x111C9, 0x111C9}, {0x111CE, 0x111CF}, {0x11241, 0x11241}, {0x1133B, 0x1133B},
    {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0},
    {0x113D2, 0x113D2}, {0x113E1, 0x113E2}, {0x1145E, 0x1145E}, {0x1182C, 0x1183A}, {0x11930, 0x11935},
    {0x11937, 0x11938}, {0x1193B, 0x1193E}, {0x11940, 0x11940}, {0x11942, 0x11943}, {0x119D1, 0x119D7},
    {0x119DA, 0x119E0}, {0x119E4, 0x119E4}, {0x11A01, 0x11A0A}, {0x11A33, 0x11A39}, {0x11A3B, 0x11A3E},
    {0x11A47, 0x11A47}, {0x11A51, 0x11A5B}, {0x11A8A, 0x11A99}, {0x11D31, 0x11D36}, {0x11D3A, 0x11D3A},
    {0x11D3C, 0x11D3D}, {0x11D3F, 0x11D45}, {0x11D47, 0x11D47}, {0x11D8A, 0x11D8E}, {0x11D90, 0x11D91},
    {0x11D93, 0x11D97}, {0x11EF3, 0x11EF6}, {0x11F00, 0x11F01}, {0x11F03, 0x11F03}, {0x11F34, 0x11F3A},
    {0x11F3E, 0x11F42}, {0x11F5A, 0x11F5A}, {0x13440, 0x13440}, {0x13447, 0x13455}, {0x1611E, 0x1612F},
    {0x16F4F, 0x16F4F}, {0x16F7F, 0x16F87}, {0x16FE4, 0x16FE4}, {0x16FF0, 0x16FF1}, {0x1CF00, 0x1CF2D},
    {0x1CF30, 0x1CF46}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF},
};
constexpr Range kFormerMarks = {0x1CF2, 0x1CF3};

template <class Entry, size_t n>
const Entry* find(const Entry (&table)[n], char32_t c) {
  const Entry* e = std::upper_bound(table, table + n, c, [](char32_t x, const Entry& r) { return x < r.first; });
  return e != table && c <= e[-1].last ? e - 1 : nullptr;
}

utf8proc_category_t category(char32_t c) {
  if (const Class* changed = c < kChanged[0].first ? nullptr : find(kChanged, c)) return changed->category;
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// An old character of the category with the given length in UTF-8; 0: there is none, keep the new one.
char32_t stand_in(utf8proc_category_t category, int bytes) {
  const bool four = bytes == 4;
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
      return four ? 0x10400 : 0x1E00;
    case UTF8PROC_CATEGORY_LL:
      return four ? 0x10428 : 0x1E01;
    case UTF8PROC_CATEGORY_LM:
      return four ? 0x16B40 : 0x1D2C;
    case UTF8PROC_CATEGORY_LO:
      return four ? 0x10280 : 0x0E01;
    case UTF8PROC_CATEGORY_MN:
      return four ? 0x10A01 : 0x1AB0;
    case UTF8PROC_CATEGORY_MC:
      return four ? 0x11002 : 0x0903;
    case UTF8PROC_CATEGORY_ND:
      return four ? 0x104A0 : 0x0966;
    case UTF8PROC_CATEGORY_NL:
      return four ? 0x10140 : 0x2160;
    case UTF8PROC_CATEGORY_NO:
      return four ? 0x10107 : 0x2460;
    case UTF8PROC_CATEGORY_PD:
      return four ? 0x10EAD : 0x2010;
    case UTF8PROC_CATEGORY_PO:
      return four ? 0x10100 : 0x2016;
    case UTF8PROC_CATEGORY_SM:
      return four ? 0x1D6C1 : 0x2200;
    case UTF8PROC_CATEGORY_SC:
      return four ? 0x11FDD : 0x20A0;
    case UTF8PROC_CATEGORY_SO:
      return four ? 0x1F000 : 0x2300;
    case UTF8PROC_CATEGORY_CF:
      return four ? 0x110BD : 0x200B;
    default:
      return 0;
  }
}

bool is_new_ideograph(char32_t c) { return (c >= 0x2EBF0 && c <= 0x2EE5D) || (c >= 0x31350 && c <= 0x323AF); }

char32_t known_class(char32_t c, int bytes) {
  const Class* changed = find(kChanged, c);
  if (!changed) return c;
  if (is_new_ideograph(c)) return 0x20000;  // keeps \p{Han} too
  const char32_t other = stand_in(changed->category, bytes);
  return other ? other : c;
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO ||
         (c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6);  // Rust: Unicode 17
}

bool is_accent(char32_t c) {
  if (c >= kFormerMarks.first && c <= kFormerMarks.last) return true;
  const auto k = category(c);
  const bool mark = k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
  return mark && !find(kYoungMarks, c);
}

bool is_word(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  // Join_Control, and the symbols that are Other_Alphabetic.
  return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

bool is_normalization_inert(char32_t c) { return c >= kNormalizationInert[0].first && find(kNormalizationInert, c); }

std::string_view with_known_classes(std::string_view text, std::string& buffer) {
  size_t copied = 0;  // bytes of text before this are in buffer
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0xE0) {  // nothing below U+0800 changed
      ++i;
      continue;
    }
    const utf8::Char c = utf8::decode(text.data() + i);
    const char32_t known = known_class(c.code, c.bytes);
    if (known != c.code) {
      if (copied == 0) buffer.clear();
      buffer.append(text, copied, i - copied);
      utf8::append(buffer, known);
      copied = i + c.bytes;
    }
    i += c.bytes;
  }
  if (copied == 0) return text;
  buffer.append(text, copied);
  return buffer;
}

}  // namespace xylem::unicode
