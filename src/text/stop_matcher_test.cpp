#include "text/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace xylem {
namespace {

TEST(StopMatcher, HoldsBackOnlyAPossibleBeginning) {
  StopMatcher m({"</end>"});
  EXPECT_EQ(m.push("hello <").text, "hello ");
  EXPECT_EQ(m.push("/e").text, "");
  EXPECT_EQ(m.push("x").text, "</ex");
  EXPECT_EQ(m.push("a</end").text, "a");
  const auto out = m.push("> more");
  EXPECT_EQ(out.text, "");
  ASSERT_TRUE(out.matched);
  EXPECT_EQ(*out.matched, "</end>");
  EXPECT_EQ(m.push("ignored").text, "");
  EXPECT_EQ(m.finish(), "");
}

TEST(StopMatcher, EarliestThenLongest) {
  const auto out = StopMatcher({"bc", "ab", "abc"}).push("xabcx");
  EXPECT_EQ(out.text, "x");
  EXPECT_EQ(out.matched.value_or("none"), "abc");
  const auto kept = StopMatcher({"bc", "ab", "abc"}, true).push("xabcx");
  EXPECT_EQ(kept.text, "xabc");
}

TEST(StopMatcher, WithoutStopsNothingIsHeld) {
  StopMatcher m({""});
  EXPECT_EQ(m.push("any").text, "any");
  EXPECT_EQ(m.finish(), "");
}

TEST(StopMatcher, FinishReturnsWhatWasHeld) {
  StopMatcher m({"aab"});
  EXPECT_EQ(m.push("aaa").text, "a");
  EXPECT_EQ(m.finish(), "aa");
}

struct Naive {
  size_t begin = std::string::npos;
  std::string stop;
};

Naive search(const std::string& text, const std::vector<std::string>& stops) {
  Naive best;
  for (const auto& s : stops) {
    const size_t at = text.find(s);
    if (at == std::string::npos) continue;
    if (at < best.begin || (at == best.begin && s.size() > best.stop.size())) best = {at, s};
  }
  return best;
}

// The longest end of text that begins some stop string.
size_t must_hold(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t n = text.size(); n > 0; --n) {
    for (const auto& s : stops) {
      if (s.size() > n && s.compare(0, n, text, text.size() - n) == 0) return n;
    }
  }
  return 0;
}

TEST(StopMatcher, RandomSplitsAgreeWithNaiveSearch) {
  std::mt19937 rng(1);
  auto word = [&](int max) {
    std::string s(1 + rng() % max, 'a');
    for (char& c : s) c = static_cast<char>('a' + rng() % 3);
    return s;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(1 + rng() % 3);
    for (auto& s : stops) s = word(6);
    const bool keep = rng() % 2;
    StopMatcher m(stops, keep);
    std::string seen, sent;
    bool stopped = false;
    while (seen.size() < 30 && !stopped) {
      const std::string piece = word(5);
      seen += piece;
      const auto out = m.push(piece);
      sent += out.text;
      const Naive expected = search(seen, stops);
      ASSERT_EQ(out.matched.has_value(), expected.begin != std::string::npos) << seen;
      stopped = out.matched.has_value();
      if (stopped) {
        ASSERT_EQ(*out.matched, expected.stop);
        ASSERT_EQ(sent, seen.substr(0, expected.begin + (keep ? expected.stop.size() : 0)));
      } else {
        ASSERT_EQ(sent.size(), seen.size() - must_hold(seen, stops)) << seen;
      }
    }
    if (!stopped) {
      ASSERT_EQ(sent + m.finish(), seen);
    }
  }
}

}  // namespace
}  // namespace xylem
