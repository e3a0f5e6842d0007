#include "text/jinja_lexer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "text/jinja_unicode.h"

namespace xylem::jinja {

Error template_error(int line, const std::string& text) {
  return invalid("chat template, line " + std::to_string(line) + ": " + text);
}

namespace {

std::string normalize_newlines(const std::string& s) {
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '\r') {
      out += s[i];
      continue;
    }
    out += '\n';
    if (i + 1 < s.size() && s[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

struct Operator {
  std::string_view text;
  Tok type;
};
constexpr Operator kOperators[] = {
    // longer ones first
    {"//", Tok::kFloorDiv}, {"**", Tok::kPow},   {"==", Tok::kEq},      {"!=", Tok::kNe},      {">=", Tok::kGe},
    {"<=", Tok::kLe},       {"+", Tok::kAdd},    {"-", Tok::kSub},      {"*", Tok::kMul},      {"/", Tok::kDiv},
    {"%", Tok::kMod},       {"~", Tok::kTilde},  {"[", Tok::kLBracket}, {"]", Tok::kRBracket}, {"(", Tok::kLParen},
    {")", Tok::kRParen},    {"{", Tok::kLBrace}, {"}", Tok::kRBrace},   {">", Tok::kGt},       {"<", Tok::kLt},
    {"=", Tok::kAssign},    {".", Tok::kDot},    {":", Tok::kColon},    {"|", Tok::kPipe},     {",", Tok::kComma},
    {";", Tok::kSemicolon},
};

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}
bool digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(const std::string& source) : src_(normalize_newlines(source)) {}

  Result<std::vector<Token>> run() {
    while (pos_ < src_.size() && !error_) root();
    if (error_) return *error_;
    add(Tok::kEof, "");
    return std::move(out_);
  }

 private:
  // Text up to the next tag, then the tag itself.
  void root() {
    size_t tag = pos_;
    for (;; ++tag) {
      tag = src_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= src_.size()) return data(src_.substr(pos_), src_.size());
      if (const char c = src_[tag + 1]; c == '%' || c == '{' || c == '#') break;
    }
    const char kind = src_[tag + 1];
    const size_t raw_body = kind == '%' ? match_raw(tag) : 0;
    size_t i = tag + 2;
    const char sign = i < src_.size() && (src_[i] == '-' || src_[i] == '+') ? src_[i++] : 0;
    data(left_stripped(src_.substr(pos_, tag - pos_), sign, kind == '{'), tag);
    pos_ = i;
    if (raw_body) return raw(raw_body);
    if (kind == '#') return comment();
    add(kind == '%' ? Tok::kBlockBegin : Tok::kVarBegin, "");
    expression(kind == '%');
  }

  // What remains of the text before a tag with this sign (0: none).
  std::string left_stripped(std::string text, char sign, bool variable) const {
    if (sign == '-') return std::string(strip(text, kRight));
    if (sign == '+' || variable) return text;
    const size_t line = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
    const bool starts_line = line > 0 || line_starting_;
    if (starts_line && line < text.size() && strip(std::string_view(text).substr(line), kBoth).empty())
      text.resize(line);
    return text;
  }

  // Emits text, which replaces the source up to end.
  void data(std::string text, size_t end) {
    if (!text.empty()) add(Tok::kData, std::move(text));
    advance(end);
  }

  void advance(size_t end) {
    for (; pos_ < end; ++pos_) line_ += src_[pos_] == '\n';
    if (end > 0) line_starting_ = src_[end - 1] == '\n';
  }

  size_t skip_space(size_t i) const {
    while (i < src_.size()) {
      size_t next = i;
      if (!is_space(next_code_point(src_, next))) break;
      i = next;
    }
    return i;
  }

  bool at(size_t i, std::string_view s) const { return src_.compare(i, s.size(), s) == 0; }

  // Behind a closing mark at i ("%}", "-%}", "+%}"), with the space it removes; 0 when there is none.
  size_t match_close(size_t i, std::string_view mark, bool trim_newline, bool plus) const {
    if (i < src_.size() && src_[i] == '-' && at(i + 1, mark)) return skip_space(i + 1 + mark.size());
    if (plus && i < src_.size() && src_[i] == '+' && at(i + 1, mark)) return i + 1 + mark.size();
    if (!at(i, mark)) return 0;
    i += mark.size();
    return trim_newline && i < src_.size() && src_[i] == '\n' ? i + 1 : i;
  }

  // Start of the body when the tag at i is {% raw %}; 0 otherwise.
  size_t match_raw(size_t i) const {
    i += 2;
    if (i < src_.size() && (src_[i] == '-' || src_[i] == '+')) ++i;
    i = skip_space(i);
    if (!at(i, "raw")) return 0;
    return match_close(skip_space(i + 3), "%}", false, false);
  }

  void raw(size_t body) {
    advance(body);
    for (size_t i = body; (i = src_.find("{%", i)) != std::string::npos; i += 2) {
      size_t j = i + 2;
      const char sign = j < src_.size() && (src_[j] == '-' || src_[j] == '+') ? src_[j++] : 0;
      j = skip_space(j);
      if (!at(j, "endraw")) continue;
      const size_t end = match_close(skip_space(j + 6), "%}", true, true);
      if (!end) continue;
      data(left_stripped(src_.substr(pos_, i - pos_), sign, false), end);
      return;
    }
    fail("missing end of raw block: {% endraw %}");
  }

  void comment() {
    for (size_t i = pos_; (i = src_.find("#}", i)) != std::string::npos; i += 2) {
      const size_t from = i > pos_ && (src_[i - 1] == '-' || src_[i - 1] == '+') ? i - 1 : i;
      return advance(match_close(from, "#}", true, true));
    }
    fail("missing end of comment: #}");
  }

  void expression(bool block) {
    std::string open;  // the closing brackets still expected
    while (!error_) {
      if (pos_ >= src_.size()) return;  // the parser says what is missing
      if (open.empty()) {
        if (size_t end = match_close(pos_, block ? "%}" : "}}", block, block)) {
          add(block ? Tok::kBlockEnd : Tok::kVarEnd, "");
          return advance(end);
        }
      }
      const size_t next = skip_space(pos_);
      if (next > pos_)
        advance(next);
      else
        token(open);
    }
  }

  void token(std::string& open) {
    const char c = src_[pos_];
    if (digit(c)) return number();
    if (is_name_char(c)) return name();
    if (c == '\'' || c == '"') return string(c);
    for (const auto& op : kOperators) {
      if (!at(pos_, op.text)) continue;
      if (!balance(c, open)) return;
      add(op.type, std::string(op.text));
      return advance(pos_ + op.text.size());
    }
    size_t end = pos_;
    next_code_point(src_, end);
    fail("unexpected character " + str_quoted(src_.substr(pos_, end - pos_)));
  }

  static std::string str_quoted(const std::string& s) { return "'" + s + "'"; }

  bool balance(char c, std::string& open) {
    if (c == '(') open += ')';
    if (c == '[') open += ']';
    if (c == '{') open += '}';
    if (c != ')' && c != ']' && c != '}') return true;
    if (open.empty() || open.back() != c) {
      fail("unexpected " + str_quoted(std::string(1, c)) +
           (open.empty() ? "" : ", expected " + str_quoted(std::string(1, open.back()))));
      return false;
    }
    open.pop_back();
    return true;
  }

  void name() {
    size_t end = pos_;
    while (end < src_.size() && is_name_char(src_[end])) ++end;
    add(Tok::kName, src_.substr(pos_, end - pos_));
    advance(end);
  }

  // Digits with single underscores between them.
  size_t digits(size_t i) const {
    while (i < src_.size() && (digit(src_[i]) || (src_[i] == '_' && i + 1 < src_.size() && digit(src_[i + 1])))) ++i;
    return i;
  }

  // End of a float literal at pos_, or 0.
  size_t match_float() const {
    if (pos_ > 0 && src_[pos_ - 1] == '.') return 0;
    size_t i = digits(pos_);
    bool is_float = false;
    if (i + 1 < src_.size() && src_[i] == '.' && digit(src_[i + 1])) {
      i = digits(i + 1);
      is_float = true;
    }
    if (i < src_.size() && (src_[i] == 'e' || src_[i] == 'E')) {
      size_t e = i + 1;
      if (e < src_.size() && (src_[e] == '+' || src_[e] == '-')) ++e;
      if (e < src_.size() && digit(src_[e])) return digits(e);
    }
    return is_float ? i : 0;
  }

  static std::string without_underscores(std::string_view s) {
    std::string out;
    for (char c : s)
      if (c != '_') out += c;
    return out;
  }

  void number() {
    if (size_t end = match_float()) {
      const std::string text = without_underscores(std::string_view(src_).substr(pos_, end - pos_));
      add(Tok::kFloat, text);
      if (std::from_chars(text.data(), text.data() + text.size(), out_.back().f).ec == std::errc::result_out_of_range)
        out_.back().f = text.find("e-") == text.npos && text.find("E-") == text.npos ? HUGE_VAL : 0;
      return advance(end);
    }
    int base = 10;
    size_t begin = pos_, end = digits(pos_);
    if (src_[pos_] == '0' && pos_ + 1 < src_.size()) {
      const char c = static_cast<char>(src_[pos_ + 1] | 0x20);
      if (c == 'x' || c == 'o' || c == 'b') {
        base = c == 'x' ? 16 : c == 'o' ? 8 : 2;
        begin = end = pos_ + 2;
        while (end < src_.size() && (std::isxdigit(static_cast<unsigned char>(src_[end])) || src_[end] == '_')) ++end;
      }
    }
    const std::string text = without_underscores(std::string_view(src_).substr(begin, end - begin));
    int64_t value = 0;
    auto [p, ec] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (ec != std::errc() || p != text.data() + text.size())
      return fail("the number " + src_.substr(pos_, end - pos_) + " does not fit 64 bits");
    add(Tok::kInt, src_.substr(pos_, end - pos_));
    out_.back().i = value;
    advance(end);
  }

  void string(char quote) {
    size_t end = pos_ + 1;
    while (end < src_.size() && src_[end] != quote) end += src_[end] == '\\' ? 2 : 1;
    if (end >= src_.size()) return fail("a string is not closed");
    std::string value;
    if (!unescape(std::string_view(src_).substr(pos_ + 1, end - pos_ - 1), value)) return;
    add(Tok::kString, std::move(value));
    advance(end + 1);
  }

  bool unescape(std::string_view s, std::string& out) {
    for (size_t i = 0; i < s.size();) {
      if (s[i] != '\\') {
        out += s[i++];
        continue;
      }
      const char c = s[i + 1];
      i += 2;
      static constexpr std::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t k = kFrom.find(c); k != kFrom.npos) {
        out += kTo[k];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        if (!code_point(s, i, c == 'x' ? 2 : c == 'u' ? 4 : 8, out)) return false;
      } else if (c >= '0' && c <= '7') {
        uint32_t v = static_cast<uint32_t>(c - '0');
        for (int n = 0; n < 2 && i < s.size() && s[i] >= '0' && s[i] <= '7'; ++n)
          v = v * 8 + static_cast<uint32_t>(s[i++] - '0');
        append_utf8(out, v);
      } else if (c == 'N') {
        fail("\\N{...} in a string is not supported");
        return false;
      } else if (c != '\n') {
        (out += '\\') += c;
      }
    }
    return true;
  }

  bool code_point(std::string_view s, size_t& i, size_t digits, std::string& out) {
    uint32_t v = 0;
    const size_t n = std::min(digits, s.size() - i);
    auto [p, ec] = std::from_chars(s.data() + i, s.data() + i + n, v, 16);
    if (ec != std::errc() || p != s.data() + i + digits || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) {
      fail("a string has a malformed \\x, \\u or \\U escape");
      return false;
    }
    i += digits;
    append_utf8(out, v);
    return true;
  }

  void add(Tok type, std::string text) { out_.push_back({type, line_, std::move(text)}); }
  void fail(const std::string& text) {
    if (!error_) error_ = template_error(line_, text);
  }

  const std::string src_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> out_;
  std::optional<Error> error_;
};

}  // namespace

Result<std::vector<Token>> tokenize(const std::string& source) { return Lexer(source).run(); }

}  // namespace xylem::jinja
