#include "text/utf8.h"

#include <gtest/gtest.h>

namespace xylem::utf8 {
namespace {

std::string lossy(std::string_view bytes, size_t* used = nullptr) {
  std::string out;
  const size_t n = append_lossy(out, bytes);
  if (used) *used = n;
  return out;
}

TEST(Utf8, RoundTrip) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string s;
    append(s, c);
    ASSERT_EQ(decode(s.data()).code, c);
    ASSERT_EQ(scan(s).bytes, s.size());
    ASSERT_EQ(scan(s).form, Form::kComplete);
    ASSERT_EQ(decode_before("x" + s, s.size() + 1).code, c);
    for (size_t n = 1; n < s.size(); ++n) ASSERT_EQ(scan(s.substr(0, n)).form, Form::kIncomplete);
  }
}

TEST(Utf8, IllFormedPartsAreMaximal) {
  EXPECT_EQ(lossy("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(lossy("\xE2\x82z"), "\uFFFDz");
  EXPECT_EQ(lossy("\xED\xA0\x80z"), "\uFFFD\uFFFD\uFFFDz");  // a surrogate
  EXPECT_EQ(lossy("\xC0\xAFz"), "\uFFFD\uFFFDz");            // overlong
  EXPECT_EQ(lossy("\xF0\x9F\x98\xE2\x82\xAC"), "\uFFFD€");
}

TEST(Utf8, AnIncompleteEndIsLeftOver) {
  size_t used = 0;
  EXPECT_EQ(lossy("ab\xF0\x9F\x98", &used), "ab");
  EXPECT_EQ(used, 2u);
}

}  // namespace
}  // namespace xylem::utf8
