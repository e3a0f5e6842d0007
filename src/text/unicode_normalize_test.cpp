#include "text/unicode_normalize.h"

#include <gtest/gtest.h>

#include "text/unicode_data.h"

namespace xylem::unicode {
namespace {

TEST(UnicodeNormalize, Forms) {
  EXPECT_EQ(normalize("e\xCC\x81", NormalForm::kNfc), "é");
  EXPECT_EQ(normalize("é", NormalForm::kNfd), "e\xCC\x81");
  EXPECT_EQ(normalize("ﬁ①", NormalForm::kNfkc), "fi1");
  EXPECT_EQ(normalize("ﬁé", NormalForm::kNfkd), "fie\xCC\x81");
  EXPECT_EQ(normalize("한", NormalForm::kNfd), "\u1112\u1161\u11AB");
  EXPECT_EQ(normalize("\u1112\u1161\u11AB", NormalForm::kNfc), "한");
  EXPECT_EQ(normalize("plain ASCII\n", NormalForm::kNfkc), "plain ASCII\n");
  EXPECT_EQ(normalize("\xE2\x84\xAB", NormalForm::kNfc), "Å");  // Angstrom sign, a singleton
}

TEST(UnicodeNormalize, MarksAreOrderedInLinearithmicTime) {
  std::string text = "e", expected = "e\xCC\x96";
  for (int i = 0; i < 200000; ++i) text += "\xCC\x81\xCC\x96";
  const std::string out = normalize(text, NormalForm::kNfd);
  EXPECT_EQ(out.size(), text.size());
  EXPECT_EQ(out.substr(0, 3), expected);
  EXPECT_EQ(out.substr(out.size() - 2), "\xCC\x81");
}

TEST(UnicodeNormalize, YoungCharactersAreLeftAlone) {
  // U+0898 has a combining class since Unicode 14; to the Unicode 9 of Hugging Face's library it is a letter.
  EXPECT_EQ(normalize("a\xE0\xA2\x98\xCC\x96", NormalForm::kNfd), "a\xE0\xA2\x98\xCC\x96");
}

TEST(UnicodeNormalize, LowerCase) {
  EXPECT_EQ(to_lower("ÄB İΣ"), "äb i\xCC\x87σ");
  EXPECT_EQ(to_lower("\xE1\xB2\x89"), "\xE1\xB2\x8A");  // U+1C89, Unicode 16
}

TEST(UnicodeData, Classes) {
  EXPECT_TRUE(is_space(0x3000));
  EXPECT_FALSE(is_space(0x200B));
  EXPECT_TRUE(is_numeric(0xBD));
  EXPECT_FALSE(is_numeric('a'));
  EXPECT_TRUE(is_word(0x10D40));
  EXPECT_TRUE(is_accent(0x301));
  std::string buffer;
  EXPECT_EQ(with_known_classes("old 東", buffer), "old 東");
  EXPECT_EQ(with_known_classes("x\xE1\xB2\x89y", buffer), "x\xE1\xB8\x80y");  // U+1C89 stands as U+1E00
}

}  // namespace
}  // namespace xylem::unicode
