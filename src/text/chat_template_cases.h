// Tables of templates and what they render to, for the tests of chat templates.
#pragma once
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "text/chat_template.h"

namespace xylem {

inline constexpr const char* kError = nullptr;

struct TemplateCase {
  std::string source;
  const char* expected;
};

// Friday, 2026-11-20 12:00:00.
inline std::tm test_clock() {
  std::tm t{};
  t.tm_year = 126;
  t.tm_mon = 10;
  t.tm_mday = 20;
  t.tm_hour = 12;
  t.tm_wday = 5;
  t.tm_yday = 323;
  return t;
}

// clang-format off
inline const nlohmann::ordered_json& case_variables() {
  static const auto vars = nlohmann::ordered_json::parse(R"~(
{"s": "Hello, World",
"u": "naïve 東京 🙂 ß",
"e": "",
"n": null,
"t": true,
"f": false,
"i": 7,
"neg": -3,
"x": 2.5,
"big": 1e+20,
"l": [3, 1, 2],
"ll": [[1, 2], [3]],
"sl": ["b", "A", "c"],
"d": {"b": 1,
"a": 2, "C": null,
"items": 5},
"msgs": [{"role": "user",
"content": "hi",
"n": 2}, {"role": "assistant",
"content": null,
"n": 1}, {"role": "user",
"content": [{"type": "text",
"text": "x"}],
"n": 3}],
"nested": {"a": {"b": {"c": [1, {"d": "deep"}]}}},
"ws": "  a b\t c \n",
"html": "<a href='x'>&</a>",
"nums": [1, 2.0, true, null, "s"],
"empty_l": [],
"empty_d": {},
"path": "a/b/c",
"dup": [1, 2, 1, 3, 2],
"js": {"k": "é\"\\\n\t\u0001\u007f",
"arr": [],
"o": {},
"f": 1.0,
"e": 1e-07,
"big": 1e+16,
"n": null,
"b": true},
"multi": "line1\nline2\n\nline3",
"tools": [{"type": "function",
"function": {"name": "f",
"parameters": {"type": "object",
"properties": {"q": {"type": "string"}}}}}]}
)~");
  return vars;
}
// clang-format on

inline Result<std::string> render_template(const std::string& source, const nlohmann::ordered_json& vars) {
  auto t = ChatTemplate::parse(source);
  if (!t.ok()) return t.error();
  return (*t)->render(vars, test_clock());
}

inline void check_template_case(const TemplateCase& c) {
  auto r = render_template(c.source, case_variables());
  if (!c.expected) {
    EXPECT_FALSE(r.ok()) << c.source << "\nrendered " << (r.ok() ? *r : "");
  } else if (!r.ok()) {
    ADD_FAILURE() << c.source << "\n" << r.error().text;
  } else {
    EXPECT_EQ(*r, c.expected) << c.source;
  }
}

}  // namespace xylem
