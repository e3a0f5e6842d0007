// Whole templates: the ones released with models, our own with their golden prompts, loading, and hostile input.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "text/chat_template_cases.h"

namespace xylem {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}

nlohmann::ordered_json read_json(const fs::path& path) { return nlohmann::ordered_json::parse(read_text(path)); }

std::string error_of(const std::string& source) {
  auto r = render_template(source, case_variables());
  return r.ok() ? "no error, but: " + r->substr(0, 100) : r.error().text;
}

fs::path shared_templates() {
  const char* shared = std::getenv("XYLEM_SHARED");
  return fs::path(shared ? shared : XYLEM_SOURCE_DIR "/../shared") / "templates";
}

void check_released(const std::string& name, const nlohmann::ordered_json& all, const std::string& source) {
  auto t = ChatTemplate::parse(source);
  ASSERT_TRUE(t.ok()) << name << ": " << t.error().text;
  for (const auto& [label, expected] : all["expected"][name].items()) {
    nlohmann::ordered_json vars = all["defaults"];
    vars.update(all["cases"][label]);
    auto r = (*t)->render(vars, test_clock());
    if (expected.contains("error")) {
      ASSERT_FALSE(r.ok()) << name << " " << label;
      EXPECT_NE(r.error().text.find(expected["error"].get<std::string>()), std::string::npos)
          << name << " " << label << "\n"
          << r.error().text;
    } else {
      ASSERT_TRUE(r.ok()) << name << " " << label << ": " << r.error().text;
      EXPECT_EQ(*r, expected["text"].get<std::string>()) << name << " " << label;
    }
  }
}

TEST(ChatTemplate, RendersReleasedTemplatesByteForByte) {
  const fs::path dir = shared_templates();
  if (!fs::exists(dir / "expected.json")) GTEST_SKIP() << dir << " is absent";
  const auto all = read_json(dir / "expected.json");
  int seen = 0;
  for (const auto& [name, cases] : all["expected"].items()) {
    const std::string source = read_text(dir / (name + ".jinja"));
    ++seen;
    if (cases.contains("does_not_compile"))
      EXPECT_FALSE(ChatTemplate::parse(source).ok()) << name;
    else
      check_released(name, all, source);
  }
  EXPECT_GT(seen, 10);
}

TEST(ChatTemplate, RendersGoldenPrompts) {
  int prompts = 0;
  for (const auto& entry : fs::directory_iterator(XYLEM_SOURCE_DIR "/tests/golden")) {
    const fs::path dir = entry.path(), model = XYLEM_SOURCE_DIR "/models" / dir.filename();
    const fs::path source = fs::exists(dir / "chat_template.jinja") ? dir : model;
    if (!fs::exists(dir / "golden.json") || !fs::exists(source / "chat_template.jinja")) continue;
    auto t = load_chat_template(source.string());
    ASSERT_TRUE(t.ok()) << t.error().text;
    const auto config = read_json(source / "tokenizer_config.json");
    const auto golden = read_json(dir / "golden.json");
    for (const auto& c : golden["cases"]) {
      if (!c.contains("messages") || !c.contains("prompt_text")) continue;
      nlohmann::ordered_json vars{{"messages", c["messages"]}, {"add_generation_prompt", true}};
      for (const char* role : {"bos_token", "eos_token"})
        if (config.contains(role)) vars[role] = config[role];
      auto r = (*t)->render(vars, test_clock());
      ASSERT_TRUE(r.ok()) << dir << c["name"] << r.error().text;
      EXPECT_EQ(*r, c["prompt_text"].get<std::string>()) << dir << c["name"];
      ++prompts;
    }
  }
  EXPECT_GT(prompts, 0);
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\nb\n{{ missing.x }}"), "chat template, line 3: 'missing' is undefined");
  EXPECT_EQ(error_of("\n{% include 'x' %}"), "chat template, line 2: the tag 'include' is not supported");
  EXPECT_EQ(error_of("{{ 1|random }}"), "chat template, line 1: the filter 'random' is not supported");
  EXPECT_EQ(error_of("{% if 1 %}\n\n"), "chat template, line 1: the if block is not closed: endif is missing");
  EXPECT_EQ(error_of("\n{{ (1 }}"), "chat template, line 2: unexpected '}', expected ')'");
  EXPECT_EQ(error_of("{{ l.append(1) }}"),
            "chat template, line 1: access to attribute 'append' of 'list' object is unsafe.");
}

TEST(ChatTemplate, RaiseExceptionGivesItsTextAlone) {
  auto r = render_template("{{ raise_exception('Roles must alternate!') }}", {});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Code::kInvalid);
  EXPECT_EQ(r.error().text, "Roles must alternate!");
}

TEST(ChatTemplate, NumbersBeyondInt64KeepTheirDigits) {
  auto r = render_template("{{ x }} {{ y }} {{ [x]|tojson }}", {{"x", 18446744073709551615ull}, {"y", INT64_MIN}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(*r, "18446744073709551615 -9223372036854775808 [18446744073709551615]");
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "xylem-template-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  void write(const char* name, const std::string& text) const { std::ofstream(path_ / name) << text; }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

std::string loaded(const TemporaryFolder& f) {
  auto t = load_chat_template(f.path());
  if (!t.ok()) return "error: " + t.error().text;
  auto r = (*t)->render({}, test_clock());
  return r.ok() ? *r : r.error().text;
}

TEST(ChatTemplate, LoadsFromTheFolderOfAModel) {
  TemporaryFolder f;
  EXPECT_EQ(load_chat_template(f.path()).error().code, Code::kNotFound);
  f.write("tokenizer_config.json", R"({"bos_token": "x"})");
  EXPECT_EQ(load_chat_template(f.path()).error().code, Code::kNotFound);
  f.write("tokenizer_config.json", R"({"chat_template": "a{{ 1 + 1 }}"})");
  EXPECT_EQ(loaded(f), "a2");
  f.write("tokenizer_config.json",
          R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(loaded(f), "d");
  f.write("chat_template.jinja", "file");
  EXPECT_EQ(loaded(f), "file");
  fs::remove(fs::path(f.path()) / "chat_template.jinja");
  f.write("tokenizer_config.json", "{");
  EXPECT_NE(loaded(f).find("not valid JSON"), std::string::npos);
}

// Each ends with the error of the limit it hits, soon and without harm.
TEST(ChatTemplate, HostileTemplatesEndWithAnError) {
  auto expect = [](const std::string& source, const char* text) {
    EXPECT_NE(error_of(source).find(text), std::string::npos) << source.substr(0, 200) << "\n" << error_of(source);
  };
  auto repeated = [](const std::string& s, int n) {
    std::string out;
    while (n-- > 0) out += s;
    return out;
  };
  expect("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recurse");
  expect("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recurse");
  const std::string loops = "{% for a in range(100000) %}{% for b in range(100000) %}";
  expect(loops + "{% endfor %}{% endfor %}", "steps");
  expect(loops + "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}", "MiB");
  const std::string grow = "{% set n = namespace(x='xxxxxxxxxx', y=[1]) %}{% for i in range(1000) %}";
  expect(grow + "{% set n.x = n.x + n.x %}{% endfor %}", "MiB");
  expect(grow + "{% set n.y = n.y + n.y %}{% endfor %}", "MiB");
  expect(grow + "{% set n.y = [n.y] %}{% endfor %}", "nest deeper");
  expect(grow + "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.y }}", "nest deeper");
  expect(grow + "{% if i < 60 %}{% set n.y = [n.y, n.y] %}{% endif %}{% endfor %}{{ n.y }}", "MiB");
  const std::string twins =
      grow + "{% if i < 60 %}{% set n.y = (n.y, n.y) %}{% set n.x = (n.x, n.x) %}{% endif %}{% endfor %}";
  expect(
      "{% set s = 'a' * 1000000 ~ 'b' %}{% set t = 'a' * 500000 ~ 'c' %}{% for i in range(100000) %}"
      "{{ s.find(t) }}{{ s.rfind(t) }}{{ s.replace(t, '') }}{{ s.rsplit(t) }}{{ t in s }}{% endfor %}",
      "");
  expect(twins + "{{ n.y == n.x }}", "steps");
  expect(twins + "{{ {n.y: 1} }}", "steps");
  expect(twins + "{{ n.y < n.x }}", "steps");
  expect(twins + "{{ n.y in [n.x] }}", "steps");
  expect(twins + "{{ n.y|tojson }}", "steps");
  expect("{{ 'x' * 1000000000000 }}", "MiB");
  expect("{{ [1] * 1000000000000 }}", "MiB");
  expect("{{ '%1000000000s' % 'x' }}", "too large");
  expect("{{ '{:1000000000}'.format(1) }}", "too large");
  expect("{{ ('x' * 60000000).replace('x', 'yyyyyyyyyy') }}", "MiB");
  expect("{{ ' '.join(['x' * 60000000] * 100000) }}", "M");
  expect("{% set n = namespace() %}{% set n.n = n %}{{ n }}", "contains itself");
  expect("{{ 9223372036854775807 + 1 }}", "overflow");
  expect("{{ (-9223372036854775807 - 1) // -1 }}", "overflow");
  expect("{{ 10 ** 400 }}", "overflow");
  expect("{{ " + repeated("(", 100000) + repeated(")", 100000) + " }}", "nested deeper");
  expect("{{ " + repeated("[", 100000) + repeated("]", 100000) + " }}", "nested deeper");
  expect("{{ " + repeated("not ", 100000) + "1 }}", "nested deeper");
  expect("{{ " + repeated("-", 100000) + "1 }}", "nested deeper");
  expect("{{ 1" + repeated("+1", 100000) + " }}", "nests deeper");
  expect("{{ x" + repeated(".x", 100000) + " }}", "nests deeper");
  expect("{{ x" + repeated("|d", 100000) + " }}", "nests deeper");
  expect(repeated("{% if 1 %}", 100000), "nested deeper");
  expect("{% if 0 %}" + repeated("{% elif 0 %}", 100000), "nested deeper");
}

TEST(ChatTemplate, LongNeedlesAreFoundFromBothSides) {
  const std::string k(40, 'k');
  auto r = render_template(
      "{{ s.split(k) }}{{ s.rsplit(k, 1) }}{{ s.find(k) }},{{ s.rfind(k) }},{{ s.rpartition(k)[2] }},{{ k in s }}",
      {{"s", "a" + k + "b" + k + "c"}, {"k", k}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(*r, "['a', 'b', 'c']['a" + k + "b', 'c']1,42,c,True");
}

TEST(ChatTemplate, CyclesAreFreed) {  // AddressSanitizer's leak check looks at this
  auto r = render_template(
      "{% set n = namespace() %}{% set n.n = n %}{% macro m() %}{% endmacro %}{% set n.m = m %}"
      "{% for x in [n] %}{% set n.l = loop %}{{ loop.changed(loop) }}{% endfor %}"
      "{% call m() %}{% endcall %}",
      {});
  EXPECT_FALSE(r.ok());  // a macro that reads no caller takes none
  r = render_template(
      "{% set n = namespace() %}{% set n.n = n %}{% macro m() %}{% endmacro %}{% set n.m = m %}"
      "{% for x in [n] %}{% set n.l = loop %}{{ loop.changed(loop) }}{% endfor %}",
      {});
  ASSERT_TRUE(r.ok()) << r.error().text;
  EXPECT_EQ(*r, "True");
}

TEST(ChatTemplate, DeeplyNestedInputIsAnError) {
  nlohmann::ordered_json deep = 1;
  for (int i = 0; i < 5000; ++i) {
    nlohmann::ordered_json outer = nlohmann::ordered_json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  auto r = render_template("{{ x }}", {{"x", deep}});
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.error().text.find("deeper"), std::string::npos);
}

// Templates with bytes changed, cut and repeated: any outcome but a crash.
TEST(ChatTemplate, SurvivesDamagedTemplates) {
  const std::string seeds[] = {
      "{%- macro m(a, b=1) -%}{{ a ~ b }}{{ caller() if caller }}{%- endmacro -%}{% for x in msgs if x.role != 'z' %}"
      "{{ loop.index }}{{ x['content']|default('', true)|tojson(indent=2) }}{% if loop.last %}{% break %}{% endif %}"
      "{% else %}none{% endfor %}{% call(y) m(1) %}{{ y }}{% endcall %}{{ l[::-1] }}{{ "
      "s[1:-1].split(',')|map('trim')|list }}",
      "{% set ns = namespace(a=0) %}{% for i in range(3) %}{% set ns.a = ns.a + i ** 2 %}{% endfor %}{{ '%05d|%s' % "
      "(ns.a, s) }}"
      "{% filter upper %}{{ '{:>8}'.format(u) }}{% endfilter %}{# c #}{% raw %}{{ }}{% endraw %}{{ d|dictsort|list }}"
      "{% with q = 2.5 %}{{ q // 1 is odd }}{% endwith %}{{ (html|safe) + html }}{{ msgs|groupby('role')|first }}"};
  const std::string alphabet = "{}%#-+|()[]'\"., \nxend01if\xC3\xA9\\";
  std::mt19937 rng(7);
  for (int round = 0; round < 3000; ++round) {
    std::string t = seeds[rng() % 2];
    for (unsigned edits = 1 + rng() % 6; edits > 0 && !t.empty(); --edits) {
      const size_t at = rng() % t.size();
      switch (rng() % 4) {
        case 0:
          t[at] = alphabet[rng() % alphabet.size()];
          break;
        case 1:
          t.erase(at, 1 + rng() % 8);
          break;
        case 2:
          t.insert(at, t, rng() % t.size(), rng() % 20);
          break;
        default:
          t.insert(at, 1, alphabet[rng() % alphabet.size()]);
      }
    }
    auto r = render_template(t, case_variables());
    EXPECT_TRUE(r.ok() || !r.error().text.empty());
  }
}

}  // namespace
}  // namespace xylem
