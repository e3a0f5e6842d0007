#include "server/fields.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace xylem {
namespace {

std::string error_of(const char* text, void (*read)(Fields&)) {
  const Json json = Json::parse(text);
  Fields fields(json, "p");
  read(fields);
  return fields.status().ok() ? "" : fields.status().error().text;
}

TEST(Fields, ReadsWhatIsThere) {
  const Json json = Json::parse(
      R"({"b": true, "i": 3.0, "f": 0.5, "s": "x", "l": ["a", "b"], "one": "c", "ids": [1, 2], "no": null})");
  Fields f(json, "");
  bool b = false;
  int i = 0, missing = 7;
  float x = 0;
  std::string s;
  std::vector<std::string> l, one;
  std::vector<TokenId> ids;
  EXPECT_TRUE(f.boolean("b", b) && f.integer("i", i, 0, 9) && f.number("f", x, {0, 1}) && f.string("s", s) &&
              f.strings("l", l, 4) && f.strings("one", one, 4) && f.ids("ids", ids, 10, 4));
  EXPECT_FALSE(f.integer("no", missing, 0, 9));
  EXPECT_FALSE(f.integer("absent", missing, 0, 9));
  EXPECT_TRUE(f.status().ok());
  EXPECT_TRUE(b);
  EXPECT_EQ(i, 3);
  EXPECT_EQ(missing, 7);
  EXPECT_EQ(x, 0.5f);
  EXPECT_EQ(l, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(one, (std::vector<std::string>{"c"}));
  EXPECT_EQ(ids, (std::vector<TokenId>{1, 2}));
}

TEST(Fields, NamesThePathOfTheFirstError) {
  EXPECT_EQ(error_of(R"({"i": "3", "f": "x"})",
                     [](Fields& f) {
                       int i = 0;
                       float x = 0;
                       f.integer("i", i, 0, 9);
                       f.number("f", x, {});
                     }),
            "p.i: must be an integer, not a string.");
  EXPECT_EQ(error_of(R"({"i": 10})",
                     [](Fields& f) {
                       int i;
                       f.integer("i", i, 0, 9);
                     }),
            "p.i: must be an integer from 0 to 9, but is 10.");
  EXPECT_EQ(error_of(R"({"i": 18446744073709551615})",
                     [](Fields& f) {
                       int i;
                       f.integer("i", i, 0, 9);
                     }),
            "p.i: must be an integer from 0 to 9, but is 18446744073709551615.");
  EXPECT_EQ(error_of(R"({"f": 0})",
                     [](Fields& f) {
                       float x;
                       f.number("f", x, {0, 1, true});
                     }),
            "p.f: must be above 0 and at most 1, but is 0.");
  EXPECT_EQ(error_of(R"({"ids": [1, 99]})",
                     [](Fields& f) {
                       std::vector<TokenId> v;
                       f.ids("ids", v, 50, 9);
                     }),
            "p.ids[1]: token id 99 is outside the vocabulary of 50 tokens.");
  EXPECT_EQ(error_of("[]", [](Fields&) {}), "p: must be a JSON object, not a list.");
}

TEST(Fields, RefusesFieldsByName) {
  EXPECT_EQ(error_of(R"({"regex": "a+"})", [](Fields& f) { f.refuse("regex", "no."); }), "p.regex: no.");
  EXPECT_EQ(error_of(R"({"regex": null, "tools": [], "on": false})",
                     [](Fields& f) {
                       f.refuse({"regex", "tools", "on"}, "no.");
                     }),
            "");
}

TEST(Fields, FindsMisspelledAndUnknownFields) {
  const auto lenient = [](Fields& f) {
    float x;
    f.number("temperature", x, {});
    f.ignore({"store"});
    f.check_unknown(false);
  };
  EXPECT_EQ(error_of(R"({"temprature": 1})", lenient),
            "p.temprature: is not a known field; did you mean \"temperature\"?");
  EXPECT_EQ(error_of(R"({"x_vendor": 1, "store": true})", lenient), "");
  EXPECT_EQ(error_of(R"({"x_vendor": 1})", [](Fields& f) { f.check_unknown(true); }),
            "p.x_vendor: is not a known field.");
}

}  // namespace
}  // namespace xylem
