#include "server/json_body.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace xylem {
namespace {

TEST(JsonBody, KeepsDocumentOrder) {
  auto json = parse_body(R"({"b": 1, "a": [1, 2.5, "x", null, true]})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(dump(*json), R"({"b":1,"a":[1,2.5,"x",null,true]})");
}

TEST(JsonBody, RefusesWhatIsNotJson) {
  for (const char* text :
       {"", "  \n", "{", "{]", "nul", "{\"a\":}", "[1,]", "\"\xff\"", "{\"a\":1} x", "1e999", "\"\\ud800\"", "\x00"})
    EXPECT_FALSE(parse_body(text).ok()) << text;
}

TEST(JsonBody, RefusesDeepNesting) {
  const std::string deep(100000, '[');
  EXPECT_FALSE(parse_body(deep).ok());
  EXPECT_NE(parse_body(deep).error().text.find("nested"), std::string::npos);
  std::string fits = std::string(64, '[') + std::string(64, ']');
  EXPECT_TRUE(parse_body(fits).ok());
  EXPECT_TRUE(parse_body(R"({"text": "[[[[[[[[ \" [[[["})", {.depth = 1}).ok()) << "brackets in strings do not nest";
}

TEST(JsonBody, RefusesManyMembersAndValues) {
  std::string object = "{\"k\":0", array = "[0";
  for (int i = 0; i < 5000; ++i) {
    object += ",\"k" + std::to_string(i) + "\":0";
    array += ",0";
  }
  EXPECT_FALSE(parse_body(object + "}").ok());
  EXPECT_TRUE(parse_body(array + "]").ok());
  EXPECT_FALSE(parse_body(array + "]", {.values = 5000}).ok());
}

TEST(JsonBody, SurvivesRandomBytes) {
  std::mt19937 random(7);
  const std::string alphabet = "{}[],:\"\\ 0123456789.eE+-truefalsnu\x80\xff\x01";
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (unsigned n = random() % 40; n > 0; --n) text.push_back(alphabet[random() % alphabet.size()]);
    const auto json = parse_body(text);
    EXPECT_TRUE(!json.ok() || parse_body(dump(*json)).ok()) << text;
  }
}

TEST(JsonBody, DumpReplacesBrokenUtf8) { EXPECT_EQ(dump(Json("a\xff")), "\"a\xef\xbf\xbd\""); }

}  // namespace
}  // namespace xylem
