#include "server/choice.h"

#include <gtest/gtest.h>

#include "server/test_support.h"

namespace xylem {
namespace {

class ChoiceTest : public testing::Test {
 protected:
  Choice make(OutputOptions options) { return Choice(tokenizer_, prompt_, std::move(options)); }
  // Pushes text byte by byte; the last token carries finish. True if a push asked for a cancel.
  static bool feed(Choice& c, const std::string& text, Finish finish = Finish::kNone) {
    bool cancel = false;
    for (size_t i = 0; i < text.size(); ++i)
      cancel |= c.push(
          {.token = static_cast<unsigned char>(text[i]), .finish = i + 1 == text.size() ? finish : Finish::kNone});
    return cancel;
  }
  std::shared_ptr<const Tokenizer> tokenizer_ = Tokenizer::parse(byte_tokenizer_json()).value();
  std::vector<TokenId> prompt_ = {'h', 'i'};
};

TEST_F(ChoiceTest, LengthKeepsAllText) {
  Choice c = make({});
  EXPECT_FALSE(feed(c, "hello", Finish::kLength));
  EXPECT_EQ(c.text(), "hello");
  EXPECT_EQ(c.tokens().size(), 5u);
  EXPECT_EQ(c.ending().reason, Finish::kLength);
  EXPECT_FALSE(c.ending().token || c.ending().stop);
}

TEST_F(ChoiceTest, StopTokenIsCountedButNotText) {
  Choice c = make({.skip_special_tokens = false});
  feed(c, "ok");
  c.push({.token = 257, .finish = Finish::kStop});
  EXPECT_EQ(c.text(), "ok");
  EXPECT_EQ(c.tokens(), (std::vector<TokenId>{'o', 'k', 257}));
  EXPECT_EQ(c.ending().token, 257);
}

TEST_F(ChoiceTest, NoStopTrimKeepsTheStopTokensText) {
  Choice c = make({.skip_special_tokens = false, .no_stop_trim = true});
  feed(c, "ok");
  c.push({.token = 257, .finish = Finish::kStop});
  EXPECT_EQ(c.text(), "ok<eos>");
}

TEST_F(ChoiceTest, StopStringCutsTextAndCancels) {
  Choice c = make({.stop = {"END"}});
  EXPECT_TRUE(feed(c, "one ENDtwo"));
  EXPECT_EQ(c.text(), "one ");
  EXPECT_EQ(c.tokens().size(), 7u) << "tokens after the stop string are dropped";
  EXPECT_EQ(c.ending().stop, "END");
  EXPECT_EQ(c.ending().reason, Finish::kStop);
}

TEST_F(ChoiceTest, TextThatMayBecomeAStopStringIsWithheld) {
  Choice c = make({.stop = {"END"}});
  feed(c, "oneEN");
  EXPECT_EQ(c.text(), "one");
  feed(c, "x");
  EXPECT_EQ(c.text(), "oneENx");
}

TEST_F(ChoiceTest, StopStringWinsOverTheLimit) {
  Choice c = make({.stop = {"END"}});
  EXPECT_FALSE(feed(c, "oneEND", Finish::kLength)) << "the engine has ended already";
  EXPECT_EQ(c.ending().stop, "END");
  EXPECT_EQ(c.text(), "one");
}

TEST_F(ChoiceTest, HalfCharactersWaitAndEndAsReplacement) {
  Choice c = make({});
  feed(c, "a\xc3");
  EXPECT_EQ(c.text(), "a");
  feed(c, "\xa9");
  EXPECT_EQ(c.text(), "a\xc3\xa9");
  feed(c, "\xe2\x82", Finish::kLength);
  EXPECT_EQ(c.text().substr(0, 3), "a\xc3\xa9");
  EXPECT_TRUE(c.text().ends_with("\xef\xbf\xbd"));
}

TEST_F(ChoiceTest, AbortAndErrorEndIt) {
  Choice c = make({});
  feed(c, "part");
  c.push({.finish = Finish::kAbort});
  EXPECT_EQ(c.text(), "part");
  EXPECT_EQ(c.ending().reason, Finish::kAbort);
  Choice e = make({});
  e.push({.finish = Finish::kError, .error = internal_error("broken")});
  EXPECT_EQ(e.ending().error.text, "broken");
}

TEST_F(ChoiceTest, DiscardDropsTheToken) {
  Choice c = make({.discard = true});
  c.push({.token = 'x', .finish = Finish::kLength, .logprob = TokenLogprob{'x', -1.0f}});
  EXPECT_TRUE(c.text().empty() && c.tokens().empty() && c.logprobs().empty());
  EXPECT_TRUE(c.done());
}

}  // namespace
}  // namespace xylem
