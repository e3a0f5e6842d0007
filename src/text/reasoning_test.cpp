#include "text/reasoning.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <utility>

#include "text/reasoning_formats.h"

namespace xylem {
namespace {

using Format = std::shared_ptr<const ReasoningFormat>;

// A vocabulary of characters and, if tags is set, of every tag: then a tag is a token.
std::shared_ptr<const Tokenizer> vocabulary(bool tags) {
  std::string added;
  int id = 1000;
  for (const char* tag : {"<think>", "</think>", "<tool_call>", "<|channel>", "<channel|>", "<|start|>", "<|channel|>",
                          "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "<|call|>"})
    added += (added.empty() ? "" : ",") + std::string(R"({"id":)") + std::to_string(id++) + R"(,"content":")" + tag +
             R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true})";
  const std::string json =
      std::string(R"({"version":"1.0","added_tokens":[)") + (tags ? added : "") +
      R"(],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,)"
      R"("model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,)"
      R"("end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{"a":0},"merges":[]}})";
  return Tokenizer::parse(json).value();
}

Format format(const char* name, bool tokens = false) {
  return make_reasoning_format(name, *vocabulary(tokens)).value();
}

std::pair<std::string, std::string> both(const ReasoningSplit& s) { return {s.reasoning, s.content}; }

ReasoningSplit parse(const Format& f, const std::vector<std::string>& pieces, bool inside = false) {
  ReasoningParser parser(f, inside);
  ReasoningSplit out;
  for (const std::string& p : pieces) parser.push_text(p, out);
  parser.finish(out);
  return out;
}

// The same text with its tags as tokens, the rest in pieces of at most `bytes`.
ReasoningSplit parse_tokens(const Format& f, std::string_view text, bool inside, size_t bytes, bool shown) {
  ReasoningParser parser(f, inside);
  ReasoningSplit out;
  while (!text.empty()) {
    size_t at = text.size();
    const ReasoningTag* next = nullptr;
    for (const ReasoningTag& tag : f->tags)
      if (const size_t here = text.find(tag.text); here < at) {
        at = here;
        next = &tag;
      }
    for (size_t i = 0; i < at; i += bytes) parser.push_text(text.substr(i, std::min(bytes, at - i)), out);
    text.remove_prefix(at);
    if (!next) break;
    parser.push_tag(*next, shown, out);
    text.remove_prefix(next->text.size());
  }
  parser.finish(out);
  return out;
}

struct Case {
  const char* parser;
  const char* text;
  const char* reasoning;
  const char* content;
  bool inside = false;
  bool spelled_only = false;  // a tag that is a token would mean more here
};

const Case kCases[] = {
    {"qwen3", "plain answer", "", "plain answer"},
    {"qwen3", "<think>\nwhy\n</think>\n\nso", "\nwhy\n", "\n\nso"},
    {"qwen3", "why</think>so", "why", "so", true},
    {"qwen3", "<think>\nwhy</think>so", "\nwhy", "so", true},
    {"qwen3", "<think>never ends", "never ends", ""},
    {"qwen3", "never ends", "never ends", "", true},
    {"qwen3", "<think>cut off</thi", "cut off</thi", ""},
    {"qwen3", "a < b <think", "", "a < b <think"},
    {"qwen3", "<think>a<think>b</think>c</think>d", "a<think>b", "c</think>d"},
    {"qwen3", "<think></think>d", "", "d"},
    {"qwen3", "\n<think>é日本🙂</think>🙂", "é日本🙂", "\n🙂"},
    {"qwen3", "<think>call it<tool_call>{}</tool_call>", "call it", "<tool_call>{}</tool_call>"},
    {"qwen3", "<<think>>x<</think>>y", "", "<<think>>x<</think>>y", false, true},  // the answer has begun
    {"qwen3", "<thin<think>a</think>", "", "<thin<think>a</think>", false, true},
    {"deepseek-v3", "<think>a<tool_call>b</think>c", "a<tool_call>b", "c"},
    {"deepseek-r1", "a</think>c", "a", "c", true},
    {"kimi", "◁think▷a◁/think▷b", "a", "b"},
    {"mistral", "[THINK]a[/THINK]b", "a", "b"},
    {"gemma4", "<|channel>thought\nwhy\n<channel|>so", "why\n", "so"},
    {"gemma4", "<|channel>thought\n<channel|>so", "", "so"},
    {"gemma4", "<|channel>thought<channel|>so", "", "so"},
    {"gemma4", "<|channel><channel|>so", "", "so"},
    {"gemma4", "<|channel>thou", "thou", ""},
    {"gemma4", "<|channel>thoughtful<channel|>so", "thoughtful", "so"},
    {"gemma4", "<|channel>other\nx<channel|>so", "other\nx", "so"},
    {"gemma4", "so it is", "", "so it is"},
    {"gemma4", "thought\nso", "", "thought\nso"},
    {"gemma4", "why<channel|>so", "why", "so", true},
    {"gpt-oss", "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>so<|return|>",
     "why", "so"},
    {"gpt-oss", "<|channel|>final<|message|>so", "", "so"},
    {"gpt-oss", "<|channel|>analysis<|message|>why", "why", ""},
    {"gpt-oss", "<|channel|>analy", "", ""},
    {"gpt-oss", "no header at all", "", "no header at all"},
    {"gpt-oss", " total", "", " total"},
    {"gpt-oss", " to", "", " to"},
    {"gpt-oss", "why<|end|><|start|>assistant<|channel|>final<|message|>so", "why", "so", true},
    {"gpt-oss",
     "<|channel|>commentary<|message|>I look. <|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|>"
     "<|start|>assistant<|channel|>final<|message|>so<|return|>",
     "b", "I look. so"},
    {"gpt-oss",
     "<|channel|>analysis<|message|>w<|end|><|start|>assistant<|channel|>commentary to=functions.f "
     "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
     "w", ""},
    {"gpt-oss", " to=functions.f<|channel|>commentary json<|message|>{}<|call|>", "", ""},
    {"gpt-oss",
     "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|end|>"
     "<|start|>assistant<|channel|>final<|message|>so",
     "", "so"},
    {"gpt-oss", "<|channel|>analysis to=python<|message|>print(1)<|call|>", "", ""},
    {"gpt-oss", "<|start|>functions.f to=assistant<|channel|>commentary<|message|>42<|end|>", "", ""},
    {"gpt-oss", "<|channel|>secret<|message|>x<|end|>", "x", ""},
    {"gpt-oss", "<|channel|>analysis<|message|>a<|channel|>final<|message|>b", "a", "b"},
    {"gpt-oss", "<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b", "a", "b"},
    {"gpt-oss", "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|message|>b<|end|>", "a", "b"},
    {"gpt-oss", "<|channel|>final<|message|>a <|end|", "", "a <|end|"},
    {"gpt-oss", "<|message|>b", "", "b"},
};

TEST(Reasoning, SplitsWholeTexts) {
  for (const Case& c : kCases)
    EXPECT_EQ(both(parse(format(c.parser), {c.text}, c.inside)),
              std::pair(std::string(c.reasoning), std::string(c.content)))
        << c.parser << ": " << c.text;
}

TEST(Reasoning, EverySplitGivesTheSame) {
  for (const Case& c : kCases) {
    const std::string text = c.text;
    const Format f = format(c.parser);
    const auto whole = both(parse(f, {text}, c.inside));
    for (size_t i = 0; i <= text.size(); ++i)
      EXPECT_EQ(both(parse(f, {text.substr(0, i), text.substr(i)}, c.inside)), whole) << text << " at " << i;
    std::vector<std::string> bytes;
    for (const char b : text) bytes.emplace_back(1, b);
    EXPECT_EQ(both(parse(f, bytes, c.inside)), whole) << text;
    std::mt19937 random(5);
    for (int round = 0; round < 50; ++round) {
      std::vector<std::string> pieces;
      for (size_t at = 0; at < text.size();) {
        const size_t n = random() % 6;
        pieces.push_back(text.substr(at, n));
        at += n;
      }
      EXPECT_EQ(both(parse(f, pieces, c.inside)), whole) << text;
    }
  }
}

TEST(Reasoning, TokensThatAreTagsGiveTheSame) {
  for (const Case& c : kCases) {
    if (c.spelled_only) continue;
    const Format f = format(c.parser, /*tokens=*/true);
    for (const size_t bytes : {1, 2, 1000})
      EXPECT_EQ(both(parse_tokens(f, c.text, c.inside, bytes, /*shown=*/true)),
                std::pair(std::string(c.reasoning), std::string(c.content)))
          << c.parser << ": " << c.text;
  }
}

TEST(Reasoning, TokensAreCertain) {
  const Format f = format("qwen3", /*tokens=*/true);
  EXPECT_EQ(both(parse(f, {"<think>a</think>b"})), std::pair(std::string(), std::string("<think>a</think>b")))
      << "text about tags is text";
  EXPECT_EQ(both(parse_tokens(f, "a<think>b</think>c<think>d</think>e", false, 1, true)),
            std::pair(std::string("bd"), std::string("ace")))
      << "a second block is reasoning too";
  EXPECT_EQ(both(parse_tokens(f, "a</think>b", false, 1, true)).second, "a</think>b");
  EXPECT_EQ(both(parse_tokens(f, "a</think>b", false, 1, /*shown=*/false)).second, "ab");
  EXPECT_EQ(both(parse_tokens(format("gemma4", true), "<|channel>thought\na<channel|>b<|channel>thought\nc<channel|>d",
                              false, 3, false)),
            std::pair(std::string("ac"), std::string("bd")));
}

TEST(Reasoning, InsideIsKnownWhileItStreams) {
  ReasoningParser parser(format("gpt-oss", true), false);
  ReasoningSplit out;
  const auto tag = [&](ReasoningTag::Role role) { parser.push_tag(*format("gpt-oss", true)->find(role), false, out); };
  tag(ReasoningTag::Role::kChannel);
  parser.push_text("analysis", out);
  EXPECT_FALSE(parser.inside());
  tag(ReasoningTag::Role::kMessage);
  EXPECT_TRUE(parser.inside());
  parser.push_text("why", out);
  EXPECT_EQ(out.reasoning, "why") << "nothing waits for the end of the message";
  tag(ReasoningTag::Role::kEnd);
  EXPECT_FALSE(parser.inside());
}

TEST(Reasoning, ThePromptTellsWhereAnAnswerBegins) {
  const auto inside = [](const char* name, const char* prompt, const char* begun = "") {
    return format(name)->begins_inside(prompt, begun);
  };
  EXPECT_TRUE(inside("qwen3", "<|im_start|>assistant\n<think>\n"));
  EXPECT_TRUE(inside("deepseek-v3", "<｜Assistant｜><think>"));
  EXPECT_FALSE(inside("qwen3", "<|im_start|>assistant\n<think>\n\n</think>\n\n"));
  EXPECT_FALSE(inside("qwen3", "what is <think>?<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_FALSE(inside("qwen3", ""));
  EXPECT_TRUE(inside("deepseek-r1", "<｜Assistant｜>"));
  EXPECT_FALSE(inside("deepseek-r1", "<｜Assistant｜><think>\n</think>"));
  EXPECT_FALSE(inside("gemma4", "<|turn>model\n<|channel>thought\n<channel|>"));
  EXPECT_FALSE(inside("gemma4", "<|turn>model\n"));
  EXPECT_FALSE(inside("gpt-oss", "<|start|>assistant"));
  EXPECT_TRUE(inside("qwen3", "assistant\n<think>\n", "so far"));
  EXPECT_FALSE(inside("qwen3", "assistant\n<think>\n", "so far</think> answer"));
  EXPECT_TRUE(inside("qwen3", "assistant\n", "<think>so far"));
  EXPECT_TRUE(inside("gemma4", "model\n", "<|channel>thought\nso far"));
  EXPECT_TRUE(inside("gpt-oss", "<|start|>assistant", "<|channel|>analysis<|message|>so far"));
  EXPECT_FALSE(inside("gpt-oss", "<|start|>assistant", "<|channel|>analysis<|message|>x<|end|><|start|>assistant"));
}

// Reasoning and content, in their order, are the input without tags and labels: nothing else is lost or made up.
bool is_input_without_tags(const std::string& input, const std::string& output, const ReasoningFormat& f) {
  std::vector<std::string> gone;
  for (const ReasoningTag& tag : f.tags) gone.push_back(tag.text);
  if (!f.label.empty()) {
    gone.push_back(f.tags[0].text + f.label);
    gone.push_back(f.tags[0].text + f.label.substr(0, f.label.size() - 1));
  }
  std::vector<std::set<size_t>> reach(input.size() + 1);  // of output, for each place of input
  reach[0].insert(0);
  for (size_t i = 0; i < input.size(); ++i)
    for (const size_t j : reach[i]) {
      if (j < output.size() && input[i] == output[j]) reach[i + 1].insert(j + 1);
      for (const std::string& g : gone)
        if (input.compare(i, g.size(), g) == 0) reach[i + g.size()].insert(j);
    }
  return reach[input.size()].contains(output.size());
}

TEST(Reasoning, RandomInputIsNeitherLostNorInvented) {
  std::mt19937 random(7);
  for (const char* name : {"qwen3", "deepseek-v3", "kimi", "gemma4", "mistral", "gpt-oss"}) {
    const Format f = format(name);
    const bool blocks = f->kind == ReasoningFormat::Kind::kBlocks;
    std::vector<std::string> parts = {
        "a", " ",     "\n",    "<",        "<|",        "|>", "thought", "thought\n",         "\xff",
        "é", " to=f", "final", "analysis", "assistant", "</", "<th",     std::string(1, '\0')};
    for (const ReasoningTag& tag : f->tags) {
      parts.push_back(tag.text);
      parts.push_back(tag.text.substr(0, 1 + random() % tag.text.size()));
    }
    for (int round = 0; round < 3000; ++round) {
      std::string input;
      for (unsigned n = random() % 14; n > 0; --n)
        input += random() % 8 ? parts[random() % parts.size()] : std::string(1, static_cast<char>(random()));
      const bool inside = random() % 2;
      ReasoningParser parser(f, inside);
      ReasoningSplit out;
      std::string ordered;
      auto take = [&, reasoning = size_t{0}, content = size_t{0}]() mutable {
        ordered += out.reasoning.substr(reasoning) + out.content.substr(content);
        reasoning = out.reasoning.size();
        content = out.content.size();
      };
      for (const char b : input) {
        parser.push_text({&b, 1}, out);
        take();
      }
      parser.finish(out);
      take();
      EXPECT_EQ(both(out), both(parse(f, {input}, inside))) << name << ": " << input;
      EXPECT_TRUE(!blocks || is_input_without_tags(input, ordered, *f)) << name << ": " << input << " -> " << ordered;
    }
  }
}

TEST(ReasoningFormats, AreFoundByFamilyAndVocabulary) {
  const auto name = [](const char* model_type, bool tags, const char* prompt = "") {
    const Format f = find_reasoning_format(model_type, *vocabulary(tags), prompt);
    return f ? f->name : std::string("none");
  };
  EXPECT_EQ(name("gemma4", true), "gemma4");
  EXPECT_EQ(name("gemma4_text", true), "gemma4");
  EXPECT_EQ(name("qwen3", true), "qwen3");
  EXPECT_EQ(name("qwen3_5_moe", true), "qwen3");
  EXPECT_EQ(name("gpt_oss", true), "gpt-oss");
  EXPECT_EQ(name("deepseek_v3", true), "deepseek-v3");
  EXPECT_EQ(name("llama", true), "deepseek-v3") << "a distilled model";
  EXPECT_EQ(name("", true), "deepseek-v3");
  EXPECT_EQ(name("qwen3", false), "none") << "a vocabulary without the tags";
  EXPECT_EQ(name("gpt_oss", false), "none");
  EXPECT_EQ(name("qwen2", false, "<|im_start|>assistant\n<think>\n"), "deepseek-v3") << "tags are plain text";
}

TEST(ReasoningFormats, UnknownNamesListTheKnownOnes) {
  const auto unknown = make_reasoning_format("qwen4", *vocabulary(true));
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().text.find("\"qwen4\""), std::string::npos);
  for (const char* known : {"auto", "none", "deepseek-r1", "gemma4", "gpt-oss", "qwen3"})
    EXPECT_NE(unknown.error().text.find(known), std::string::npos) << known;
}

}  // namespace
}  // namespace xylem
