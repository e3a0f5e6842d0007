#include "text/tokenizer_regex.h"

#include <gtest/gtest.h>

#include "text/tokenizer_regex_syntax.h"

namespace xylem {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  auto p = Pattern::regex(pattern);
  EXPECT_TRUE(p.ok()) << p.error().text;
  PatternScratch scratch;
  std::vector<TextRange> ranges;
  EXPECT_TRUE(p->find_all(text, scratch, ranges).ok());
  std::vector<std::string> out;
  for (const TextRange& r : ranges) out.emplace_back(text.substr(r.begin, r.size()));
  return out;
}
using Strings = std::vector<std::string>;

TEST(TokenizerRegex, SpaceIsUnicodeWhiteSpace) {
  EXPECT_EQ(matches(R"(\s)", "a\xC2\x85\xE3\x80\x80\xE1\xA0\x8E b").size(), 3u);  // not U+180E
  EXPECT_EQ(matches(R"([^\S\n]+)", " \n\t\n"), (Strings{" ", "\t"}));
  EXPECT_EQ(matches(R"(\S+)", "ab cd"), (Strings{"ab", "cd"}));
}

TEST(TokenizerRegex, WordsAndBoundaries) {
  EXPECT_EQ(matches(R"(\w+)", "e\xCC\x81_1 ²-"), (Strings{"e\xCC\x81_1", "²"}));
  EXPECT_EQ(matches(R"(\b\w)", "ab cd"), (Strings{"a", "c"}));
  EXPECT_EQ(matches(R"(\h+)", "xAFg09"), (Strings{"AF", "09"}));
}

TEST(TokenizerRegex, ClassIntersectionAndNesting) {
  EXPECT_EQ(matches(R"([\p{L}&&[^\p{Han}]]+)", "ab東cd"), (Strings{"ab", "cd"}));
  EXPECT_EQ(matches(R"([[ab]c-e]+)", "xabcdef"), (Strings{"abcde"}));
  EXPECT_EQ(matches(R"([^[ab]]+)", "aXYb"), (Strings{"XY"}));
  EXPECT_EQ(matches(R"([^\p{L}&&[^0-9]]+)", "a1-b"), (Strings{"1-"}));
}

TEST(TokenizerRegex, RubyQuantifiersAndOptions) {
  EXPECT_EQ(matches(R"(\d{2}+)", "12345"), (Strings{"1234"}));
  EXPECT_EQ(matches(R"(x{,2}y)", "xxxy"), (Strings{"xxy"}));
  EXPECT_EQ(matches(R"((?m:a.b))", "a\nb"), (Strings{"a\nb"}));
  EXPECT_EQ(matches(R"(^.)", "ab\ncd"), (Strings{"a", "c"}));
  EXPECT_EQ(matches(R"((?i:'s|'ll))", "x'S y'LL z'ſ"), (Strings{"'S", "'LL", "'ſ"}));
}

TEST(TokenizerRegex, EmptyMatchesDoNotFollowAMatch) { EXPECT_EQ(matches("x*", "axxb"), (Strings{"", "xx", ""})); }

TEST(TokenizerRegex, CharactersYoungerThanTheLibrary) {
  EXPECT_EQ(matches(R"(\p{Lu}\p{Ll})", "\xE1\xB2\x89\xE1\xB2\x8A").size(), 1u);  // U+1C89 U+1C8A, Unicode 16
  EXPECT_EQ(matches(R"(\p{Han}+)", "東\xF0\xB1\x8D\x90"), (Strings{"東\xF0\xB1\x8D\x90"}));  // U+31350, Unicode 15
}

TEST(TokenizerRegex, LongRunsMatch) {
  const std::string text(1 << 20, ' ');
  EXPECT_EQ(matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", text), (Strings{text}));
  EXPECT_EQ(matches(R"((?:a|b)+)", std::string(1 << 20, 'a')).size(), 1u);  // needs more than the default stack
}

TEST(TokenizerRegex, BadPatternsAreErrors) {
  for (const char* bad : {"[a", "(", "a)", "[[:alpha:", "*", "\\", "[a-\\", "(?<n", "\\p{Nope}", "{2}+", "[z-a]"}) {
    EXPECT_FALSE(Pattern::regex(bad).ok()) << bad;
  }
  EXPECT_FALSE(onig_to_pcre2(std::string(1000, '[')).ok());
}

}  // namespace
}  // namespace xylem
