#include "text/tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/tokenizer_regex_syntax.h"
#include "text/unicode_data.h"
#include "text/utf8.h"

namespace xylem {
namespace {

constexpr size_t kJitStackStart = 64 << 10, kJitStackMax = 256 << 20;  // address space; touched only when needed
constexpr uint32_t kMatchLimit = 1'000'000'000;
constexpr size_t kMaxPatternBytes = 64 << 10;

std::string message(int code) {
  unsigned char text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

struct Free {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};

}  // namespace

struct PatternScratch::Impl {
  std::unique_ptr<pcre2_match_data, Free> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Free> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Free> stack;  // made when the 32 KiB on the thread's own stack were too few
  std::string subject;                           // text with characters of classes that PCRE2 knows

  Impl() {
    CHECK(data && context);
    pcre2_set_match_limit(context.get(), kMatchLimit);
  }
};

PatternScratch::PatternScratch() = default;
PatternScratch::~PatternScratch() = default;
PatternScratch::PatternScratch(PatternScratch&&) noexcept = default;
PatternScratch& PatternScratch::operator=(PatternScratch&&) noexcept = default;

Pattern Pattern::literal(std::string text) {
  CHECK(!text.empty());
  Pattern p;
  p.literal_ = std::move(text);
  return p;
}

Result<Pattern> Pattern::regex(std::string_view onig) {
  const std::string shown =
      "The regular expression '" + std::string(onig.substr(0, 200)) + "' of the tokenizer is not supported: ";
  auto translated = onig_to_pcre2(onig);
  if (!translated) return unsupported(shown + translated.error().text + ".");
  std::unique_ptr<pcre2_compile_context, Free> context(pcre2_compile_context_create(nullptr));
  CHECK(context != nullptr);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context.get(), kMaxPatternBytes);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (!code)
    return unsupported(shown + message(error) + " (at " + std::to_string(offset) + " of " + *translated + ").");
  Pattern p;
  p.code_ = {code, [](pcre2_code* c) { pcre2_code_free(c); }};
  p.jit_ = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
  return p;
}

Result<Pattern> Pattern::parse(tokenizer_json::Json object, std::string_view where) {
  const auto pattern = tokenizer_json::member(object, "pattern");
  if (pattern.set && tokenizer_json::member(pattern.value, "Regex").set) {
    TRY(const std::string r, tokenizer_json::string_of(pattern.value, "Regex", where));
    return regex(r);
  }
  if (!pattern.set) return invalid("tokenizer.json: " + std::string(where) + ".pattern is missing.");
  TRY(std::string s, tokenizer_json::string_of(pattern.value, "String", where));
  if (s.empty()) return unsupported("tokenizer.json: " + std::string(where) + ".pattern is an empty string.");
  return literal(std::move(s));
}

Status Pattern::find_all(std::string_view text, PatternScratch& scratch, std::vector<TextRange>& out) const {
  out.clear();
  if (!code_) {
    for (size_t at = text.find(literal_); at != text.npos; at = text.find(literal_, at + literal_.size())) {
      out.push_back({at, at + literal_.size()});
    }
    return {};
  }
  if (!scratch.impl_) scratch.impl_ = std::make_unique<PatternScratch::Impl>();
  auto& s = *scratch.impl_;
  const std::string_view subject = unicode::with_known_classes(text, s.subject);
  const auto* chars = reinterpret_cast<PCRE2_SPTR>(subject.data());
  const size_t none = std::string_view::npos;
  size_t last_match_end = none;
  for (size_t from = 0; from <= text.size();) {
    const auto run = jit_ ? pcre2_jit_match : pcre2_match;
    int rc = run(code_.get(), chars, subject.size(), from, PCRE2_NO_UTF_CHECK, s.data.get(), s.context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !s.stack) {
      s.stack.reset(pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr));
      if (!s.stack) return no_capacity("There is no memory to tokenize this text.");
      pcre2_jit_stack_assign(s.context.get(), nullptr, s.stack.get());
      continue;
    }
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0)
      return invalid("The text cannot be tokenized: its pattern fails with '" + message(rc) +
                     "'. Send a shorter text.");
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(s.data.get());
    if (ends[0] == ends[1] && ends[1] == last_match_end) {  // an empty match right after a match does not count
      from += from < text.size() ? utf8::decode(text.data() + from).bytes : 1;
      continue;
    }
    out.push_back({ends[0], ends[1]});
    from = last_match_end = ends[1];
  }
  return {};
}

Result<std::string> replace_all(std::string_view text, const Pattern& pattern, std::string_view content,
                                PatternScratch& scratch) {
  std::vector<TextRange> matches;
  TRY_VOID(pattern.find_all(text, scratch, matches));
  std::string out;
  out.reserve(text.size());
  size_t copied = 0;
  for (const TextRange& m : matches) {
    out.append(text, copied, m.begin - copied);
    out += content;
    copied = m.end;
  }
  out.append(text, copied);
  return out;
}

}  // namespace xylem
