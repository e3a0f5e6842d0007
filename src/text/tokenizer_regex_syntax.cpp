#include "text/tokenizer_regex_syntax.h"

#include <vector>

namespace xylem {
namespace {

constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";
// Oniguruma: Alphabetic, M, Nd, Pc; outside of classes also superscripts and fractions of Latin-1, by another table.
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
constexpr std::string_view kLatinWord = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr std::string_view kHex = "0-9a-fA-F";
constexpr int kMaxClassDepth = 50;

// The members of a shorthand that PCRE2 reads differently; empty for any other escape.
std::string_view shorthand(char c) {
  switch (c) {
    case 's':
    case 'S':
      return kSpace;
    case 'w':
    case 'W':
      return kWord;
    case 'h':
    case 'H':
      return kHex;
    default:
      return {};
  }
}
std::string shorthand_alone(char c) {
  std::string members(shorthand(c));
  if (c == 'w' || c == 'W') members += kLatinWord;
  return members;
}
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string bracket(bool negated, std::string_view members) {
  return std::string(negated ? "[^" : "[") + std::string(members) + "]";
}

// Between a word character and another, or (not at) anywhere else.
std::string boundary(bool at) {
  const std::string word = bracket(false, shorthand_alone('w'));
  return "(?:(?<=" + word + (at ? ")(?!" : ")(?=") + word + ")|(?<!" + word + (at ? ")(?=" : ")(?!") + word + "))";
}

class Translator {
 public:
  explicit Translator(std::string_view in) : in_(in) {}

  Result<std::string> run() {
    std::vector<size_t> groups;  // where each open group began in out_
    while (i_ < in_.size()) {
      const char c = in_[i_];
      if (c == '(') {
        groups.push_back(out_.size());
        open_group();
      } else if (c == ')') {
        if (groups.empty()) return invalid("unmatched ')'");
        atom_ = groups.back();
        groups.pop_back();
        copy(1);
      } else if (c == '*' || c == '+' || c == '?') {
        copy(1);
        if (peek(0) == '?' || peek(0) == '+') copy(1);
      } else if (c == '{' && interval()) {
        continue;
      } else {
        atom_ = out_.size();
        TRY_VOID(atom());
      }
    }
    return std::move(out_);
  }

 private:
  // One set of a class: members for PCRE2's own brackets and nested sets that are expressions.
  struct Union {
    std::string members;
    std::vector<std::string> nested;
    std::string expression() const {
      if (nested.empty()) return bracket(false, members);
      if (members.empty() && nested.size() == 1) return nested[0];
      std::string e = "(?:";
      if (!members.empty()) e += bracket(false, members) + "|";
      for (size_t k = 0; k < nested.size(); ++k) e += (k ? "|" : "") + nested[k];
      return e + ")";
    }
  };

  char peek(size_t ahead) const { return i_ + ahead < in_.size() ? in_[i_ + ahead] : '\0'; }
  void copy(size_t n) {
    out_ += in_.substr(i_, n);
    i_ += std::min(n, in_.size() - i_);
  }

  void open_group() {
    copy(1);
    if (peek(0) != '?') return;
    copy(1);
    // Ruby's option m is Perl's s.
    while (peek(0) == 'i' || peek(0) == 'm' || peek(0) == 'x' || peek(0) == '-') {
      out_ += peek(0) == 'm' ? 's' : peek(0);
      ++i_;
    }
    if (peek(0) == '<')
      copy(2);
    else if (peek(0) == ':' || peek(0) == '=' || peek(0) == '!' || peek(0) == '>')
      copy(1);
  }

  // {n} {n,} {n,m} {,m}; false when '{' is a literal.
  bool interval() {
    size_t end = i_ + 1;
    std::string low, high;
    while (end < in_.size() && is_digit(in_[end])) low += in_[end++];
    const bool comma = end < in_.size() && in_[end] == ',';
    if (comma) ++end;
    while (comma && end < in_.size() && is_digit(in_[end])) high += in_[end++];
    if (end >= in_.size() || in_[end] != '}' || (low.empty() && high.empty())) return false;
    i_ = end + 1;
    out_ += "{" + (low.empty() ? "0" : low) + (comma ? "," + high : "") + "}";
    // PCRE2 would read these as possessive and lazy.
    if (peek(0) == '+' || (peek(0) == '?' && !comma)) {
      out_.insert(atom_, "(?:");
      out_ += ")";
      copy(1);
    } else if (peek(0) == '?') {
      copy(1);
    }
    return true;
  }

  Status atom() {
    if (in_[i_] == '[') {
      TRY(const std::string expression, char_class(0));
      out_ += expression;
      return {};
    }
    if (in_[i_] == '\\') {
      const char c = peek(1);
      if (const auto members = shorthand_alone(c); !members.empty()) {
        out_ += bracket(is_upper(c), members);
        i_ += 2;
      } else if (c == 'b' || c == 'B') {
        out_ += boundary(c == 'b');
        i_ += 2;
      } else {
        out_ += escape();
      }
      return {};
    }
    do copy(1);
    while (i_ < in_.size() && (static_cast<unsigned char>(in_[i_]) & 0xC0) == 0x80);  // the rest of a character
    return {};
  }

  // Any escape both read alike, with its argument.
  std::string escape() {
    const size_t begin = i_;
    const char c = peek(1);
    i_ += 2;
    if (c == 'u' && i_ + 4 <= in_.size()) {
      const std::string hex(in_.substr(i_, 4));
      i_ += 4;
      return "\\x{" + hex + "}";
    }
    if ((c == 'p' || c == 'P' || c == 'x') && peek(0) == '{') {
      const size_t close = in_.find('}', i_);
      i_ = close == std::string_view::npos ? in_.size() : close + 1;
    }
    i_ = std::min(i_, in_.size());
    return std::string(in_.substr(begin, i_ - begin));
  }

  // At '['. The PCRE2 expression that matches one character of the class.
  Result<std::string> char_class(int depth) {
    if (depth > kMaxClassDepth) return invalid("character classes are nested too deeply");
    ++i_;
    const bool negated = peek(0) == '^';
    if (negated) ++i_;
    std::vector<Union> operands(1);  // of &&
    if (peek(0) == ']') {
      operands.back().members += "\\]";
      ++i_;
    }
    while (peek(0) != ']') {
      if (i_ >= in_.size()) return invalid("a character class is not closed");
      if (peek(0) == '&' && peek(1) == '&') {
        operands.emplace_back();
        i_ += 2;
      } else {
        TRY_VOID(class_member(operands.back(), depth));
      }
    }
    ++i_;
    if (operands.size() == 1 && operands[0].nested.empty()) return bracket(negated, operands[0].members);
    std::string all;
    for (size_t k = 0; k + 1 < operands.size(); ++k) all += "(?=" + operands[k].expression() + ")";
    all += operands.back().expression();
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  Status class_member(Union& set, int depth) {
    const char c = peek(0);
    if (c == '[' && peek(1) == ':') {
      const size_t close = in_.find(":]", i_);
      if (close == std::string_view::npos) return invalid("a POSIX bracket is not closed");
      set.members += in_.substr(i_, close + 2 - i_);
      i_ = close + 2;
    } else if (c == '[') {
      TRY(std::string nested, char_class(depth + 1));
      const bool plain = nested.front() == '[' && nested[1] != '^';
      if (plain)
        set.members += nested.substr(1, nested.size() - 2);
      else
        set.nested.push_back(std::move(nested));
    } else if (c != '\\') {
      set.members += c;
      ++i_;
    } else if (const auto members = shorthand(peek(1)); !members.empty()) {
      if (is_upper(peek(1)))
        set.nested.push_back(bracket(true, members));
      else
        set.members += members;
      i_ += 2;
    } else {
      set.members += escape();
    }
    return {};
  }

  std::string_view in_;
  size_t i_ = 0;
  std::string out_;
  size_t atom_ = 0;  // where the last quantifiable thing begins in out_
};

}  // namespace

Result<std::string> onig_to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace xylem
