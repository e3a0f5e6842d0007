#include "text/jinja_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace xylem::jinja {

namespace {

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int kMaxPrecision = 500;

bool digit(char c) { return c >= '0' && c <= '9'; }

// printf of one double; precision is bounded by the callers.
std::string print_double(char type, bool alt, int precision, double f) {
  if (std::isnan(f)) return std::isupper(static_cast<unsigned char>(type)) ? "NAN" : "nan";
  if (std::isinf(f)) return std::isupper(static_cast<unsigned char>(type)) ? "INF" : "inf";
  const char fmt[] = {'%', alt ? '#' : '.', alt ? '.' : '*', alt ? '*' : type, alt ? type : '\0', '\0'};
  const int n = std::snprintf(nullptr, 0, fmt, precision, f);
  std::string s(static_cast<size_t>(n) + 1, '\0');
  std::snprintf(s.data(), s.size(), fmt, precision, f);
  s.pop_back();
  return s;
}

std::string in_base(uint64_t u, unsigned base, bool upper_case) {
  const char* digits = upper_case ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string s;
  for (; u || s.empty(); u /= base) s += digits[u % base];
  std::reverse(s.begin(), s.end());
  return s;
}

uint64_t magnitude(int64_t i) { return i < 0 ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i); }

// Digits with a separator between groups of three (up to the point).
std::string grouped(const std::string& digits, char sep) {
  size_t whole = 0;
  while (whole < digits.size() && digit(digits[whole])) ++whole;
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i && (whole - i) % 3 == 0) out += sep;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

struct Spec {
  std::string fill = " ";
  char align = 0, sign = '-', type = 0, group = 0;
  bool alt = false, zero = false;
  int64_t width = 0;
  int precision = -1;
};

bool number_in(Env& env, std::string_view s, size_t& i, int64_t limit, int64_t& out) {
  out = 0;
  for (; i < s.size() && digit(s[i]); ++i) out = std::min<int64_t>(out * 10 + (s[i] - '0'), limit + 1);
  if (out > limit) env.fail("a width or precision in a format is too large");
  return out <= limit;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

bool parse_spec(Env& env, std::string_view s, Spec& out) {
  size_t i = 0, second = 0;
  if (!s.empty()) next_code_point(s, second);
  if (second && second < s.size() && is_align(s[second])) {
    out.fill = s.substr(0, second);
    out.align = s[second];
    i = second + 1;
  } else if (!s.empty() && is_align(s[0])) {
    out.align = s[i++];
  }
  auto accept = [&](std::string_view set) { return i < s.size() && set.find(s[i]) != set.npos ? s[i++] : '\0'; };
  if (char c = accept("+- ")) out.sign = c;
  out.alt = accept("#");
  out.zero = accept("0");
  if (out.zero && !out.align) {
    out.align = '=';
    out.fill = "0";
  }
  if (!number_in(env, s, i, kMaxWidth, out.width)) return false;
  out.group = accept(",_");
  if (accept(".")) {
    int64_t p;
    if (!number_in(env, s, i, kMaxPrecision, p)) return false;
    out.precision = static_cast<int>(p);
  }
  if (i < s.size()) out.type = s[i++];
  if (i == s.size()) return true;
  env.fail("invalid format specifier " + str_repr(s));
  return false;
}

std::string pad(const Spec& spec, const std::string& prefix, const std::string& body, char default_align) {
  const int64_t room = spec.width - count_code_points(prefix) - count_code_points(body);
  if (room <= 0) return prefix + body;
  auto fill = [&](int64_t n) {
    std::string s;
    while (n-- > 0) s += spec.fill;
    return s;
  };
  switch (spec.align ? spec.align : default_align) {
    case '<':
      return prefix + body + fill(room);
    case '^':
      return fill(room / 2) + prefix + body + fill(room - room / 2);
    case '=':
      return prefix + fill(room) + body;
    default:
      return fill(room) + prefix + body;
  }
}

std::string sign_prefix(const Spec& spec, bool negative) {
  if (negative) return "-";
  return spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string spec_float(Env& env, const Spec& spec, double f) {
  env.charge(100);  // printing a double may take microseconds
  const bool negative = std::signbit(f) && !std::isnan(f);
  std::string body;
  const double a = std::fabs(f);
  switch (spec.type) {
    case 'f':
    case 'F':
    case 'e':
    case 'E':
    case 'g':
    case 'G':
      body = print_double(spec.type, spec.alt, spec.precision < 0 ? 6 : spec.precision, a);
      break;
    case '%':
      body = print_double('f', spec.alt, spec.precision < 0 ? 6 : spec.precision, a * 100) + "%";
      break;
    case 0:
      body = spec.precision < 0 ? float_repr(a) : print_double('g', spec.alt, std::max(spec.precision, 1), a);
      if (spec.precision >= 0 && body.find_first_of(".einf") == body.npos) body += ".0";
      break;
    default:
      env.fail(std::string("unknown format code '") + spec.type + "' for object of type 'float'");
      return "";
  }
  return pad(spec, sign_prefix(spec, negative), spec.group ? grouped(body, spec.group) : body, '>');
}

std::string spec_int(Env& env, const Spec& spec, int64_t i) {
  std::string prefix = sign_prefix(spec, i < 0), body;
  const uint64_t u = magnitude(i);
  switch (spec.type) {
    case 0:
    case 'd':
    case 'n':
      body = std::to_string(u);
      break;
    case 'x':
    case 'X':
      body = in_base(u, 16, spec.type == 'X');
      break;
    case 'o':
      body = in_base(u, 8, false);
      break;
    case 'b':
      body = in_base(u, 2, false);
      break;
    case 'c':
      append_utf8(body, static_cast<uint32_t>(std::clamp<int64_t>(i, 0, 0x10FFFF)));
      break;
    default:
      return spec_float(env, spec, static_cast<double>(i));
  }
  if (spec.alt && (spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b'))
    (prefix += '0') += spec.type;
  return pad(spec, prefix, spec.group ? grouped(body, spec.group) : body, '>');
}

std::string spec_str(Env& env, const Spec& spec, const std::string& s) {
  if ((spec.type && spec.type != 's') || spec.sign != '-' || spec.alt || spec.align == '=' || spec.group) {
    env.fail("this format specifier is not allowed for strings");
    return "";
  }
  return pad(spec, "", spec.precision < 0 ? s : s.substr(0, offset_of(s, spec.precision)), '<');
}

}  // namespace

std::string format_spec(Env& env, const Value& v, std::string_view text) {
  if (text.empty()) return to_str(env, v);
  Spec spec;
  if (!parse_spec(env, text, spec)) return "";
  if (v.str()) return spec_str(env, spec, v.s());
  if (v.is(Kind::kFloat)) return spec_float(env, spec, v.f());
  if (v.is(Kind::kBool) && !spec.type) return spec_str(env, spec, v.b() ? "True" : "False");
  if (v.integral()) return spec_int(env, spec, v.i());
  env.fail("unsupported format string passed to " + std::string(type_name(v)) + ".__format__");
  return "";
}

namespace {

// What Python lets stand unused behind %: everything that can be indexed, but tuples and strings.
bool is_mapping_like(const Value& v) { return v.dict() || v.is(Kind::kList) || v.is(Kind::kRange) || v.undefined(); }

// "..." % args
class Percent {
 public:
  Percent(Env& env, const Value& format, const Value& args)
      : env_(env), s_(format.s()), safe_(format.as<Str>().safe), args_(args) {}

  Value run() {
    for (size_t i = 0; i < s_.size() && !env_.failed();) {
      if (s_[i] != '%')
        out_ += s_[i++];
      else if (i + 1 < s_.size() && s_[i + 1] == '%')
        out_ += '%', i += 2;
      else
        i = conversion(i + 1);
    }
    const bool left = args_.is(Kind::kTuple) ? next_ < args_.items().size() : next_ == 0 && !is_mapping_like(args_);
    if (left && !env_.failed()) return env_.fail("not all arguments converted during string formatting");
    return env_.str(std::move(out_), safe_);
  }

 private:
  Value next() {
    if (args_.is(Kind::kTuple)) {
      if (next_ < args_.items().size()) return args_.items()[next_++];
    } else if (next_++ == 0) {
      return args_;
    }
    return env_.fail("not enough arguments for format string");
  }

  Value keyed(size_t& i) {
    const size_t end = s_.find(')', i);
    if (end == s_.npos) return env_.fail("incomplete format key");
    const std::string key = s_.substr(i + 1, end - i - 1);
    i = end + 1;
    if (!args_.dict()) return env_.fail("format requires a mapping");
    const Value* v = args_.as<Dict>().find(key);
    return v ? *v : env_.fail("no key " + str_repr(key) + " to format");
  }

  bool size(size_t& i, int64_t limit, int64_t& out) {
    if (i >= s_.size() || s_[i] != '*') return number_in(env_, s_, i, limit, out);
    ++i;
    const Value v = next();
    if (env_.failed() || !v.integral() || v.i() > limit || v.i() < -limit)
      return env_.fail("* wants an int of moderate size"), false;
    out = v.i();
    return true;
  }

  // The conversion behind a '%'; returns where it ends.
  size_t conversion(size_t i) {
    Value v;
    if (i < s_.size() && s_[i] == '(') v = keyed(i);
    Spec spec;
    bool left = false;
    for (; i < s_.size() && std::string_view("#0- +").find(s_[i]) != std::string_view::npos; ++i) {
      if (s_[i] == '#') spec.alt = true;
      if (s_[i] == '0') spec.zero = true;
      if (s_[i] == '-') left = true;
      if (s_[i] == '+' || (s_[i] == ' ' && spec.sign != '+')) spec.sign = s_[i];
    }
    if (!size(i, kMaxWidth, spec.width)) return s_.size();
    if (spec.width < 0) left = true, spec.width = -spec.width;
    if (i < s_.size() && s_[i] == '.') {
      int64_t p = 0;
      if (!size(++i, kMaxPrecision, p)) return s_.size();
      spec.precision = static_cast<int>(std::max<int64_t>(p, 0));
    }
    while (i < s_.size() && (s_[i] == 'l' || s_[i] == 'h' || s_[i] == 'L')) ++i;
    if (i >= s_.size()) return env_.fail("incomplete format"), i;
    spec.type = s_[i];
    if (v.missing()) v = next();
    if (env_.failed()) return i;
    spec.align = left ? '<' : '>';
    convert(spec, v, left);
    return i + 1;
  }

  void convert(Spec& spec, const Value& v, bool left) {
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a':
        return text(spec, v);
      case 'c': {
        if (!v.str() && !v.integral()) return void(env_.fail("%c requires int or char"));
        std::string s = v.str() ? v.s() : "";
        if (v.integral()) append_utf8(s, static_cast<uint32_t>(std::clamp<int64_t>(v.i(), 0, 0x10FFFF)));
        out_ += pad(spec, "", s, '>');
        return;
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        break;
      default:
        env_.fail(std::string("unsupported format character '") + spec.type + "'");
        return;
    }
    if (!v.number()) {
      env_.fail(v.undefined()
                    ? undefined_text(v)
                    : std::string("%") + spec.type + " format: a real number is required, not " + type_name(v));
      return;
    }
    if (spec.zero && !left) {
      spec.align = '=';
      spec.fill = "0";
    }
    number(spec, v);
  }

  void text(const Spec& spec, const Value& v) {
    std::string s = spec.type == 's' ? to_str(env_, v) : repr(v);
    if (safe_ && !(v.str() && v.as<Str>().safe)) s = escape_html(s);
    if (spec.precision >= 0) s.resize(offset_of(s, spec.precision));
    out_ += pad(spec, "", s, '>');
  }

  void number(Spec& spec, const Value& v) {
    if (std::string_view("eEfFgG").find(spec.type) != std::string_view::npos) {
      out_ += spec_float(env_, spec, v.f());
      return;
    }
    if (v.is(Kind::kFloat) && (spec.type == 'x' || spec.type == 'X' || spec.type == 'o'))
      return void(env_.fail(std::string("%") + spec.type + " format: an integer is required, not float"));
    if (v.is(Kind::kFloat) && !(std::fabs(v.f()) < 9.2e18)) return void(env_.fail("integer overflow in a format"));
    if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
    const int64_t i = v.integral() ? v.i() : static_cast<int64_t>(v.f());
    if (spec.precision >= 0) return with_digits(spec, i);
    out_ += spec_int(env_, spec, i);
  }

  // A precision of an integer is its least number of digits.
  void with_digits(const Spec& spec, int64_t i) {
    std::string body = spec.type == 'd' ? std::to_string(magnitude(i))
                                        : in_base(magnitude(i), spec.type == 'o' ? 8 : 16, spec.type == 'X');
    if (static_cast<int>(body.size()) < spec.precision)
      body.insert(0, static_cast<size_t>(spec.precision) - body.size(), '0');
    out_ += pad(spec, sign_prefix(spec, i < 0), body, '>');
  }

  Env& env_;
  const std::string& s_;
  const bool safe_;
  const Value& args_;
  size_t next_ = 0;
  std::string out_;
};

// "...".format(...)
class Braces {
 public:
  Braces(Env& env, bool safe, const Args& args) : env_(env), safe_(safe), args_(args) {}

  std::string run(std::string_view s, int level) {
    std::string out;
    if (level > 2) return env_.fail("max string recursion exceeded"), out;
    for (size_t i = 0; i < s.size() && !env_.failed();) {
      if (s[i] != '{' && s[i] != '}') {
        out += s[i++];
      } else if (i + 1 < s.size() && s[i + 1] == s[i]) {
        out += s[i];
        i += 2;
      } else if (s[i] == '}') {
        env_.fail("single '}' encountered in format string");
      } else {
        const size_t end = closing(s, i);
        if (end == s.npos)
          env_.fail("expected '}' before end of string");
        else
          out += field(s.substr(i + 1, end - i - 1), level);
        i = end + 1;
      }
    }
    return out;
  }

 private:
  static size_t closing(std::string_view s, size_t i) {
    int depth = 0;
    for (; i < s.size(); ++i) {
      if (s[i] == '{') ++depth;
      if (s[i] == '}' && --depth == 0) return i;
    }
    return s.npos;
  }

  std::string field(std::string_view f, int level) {
    size_t name_end = f.find_first_of("!:");
    if (name_end == f.npos) name_end = f.size();
    Value v = lookup(f.substr(0, name_end));
    f.remove_prefix(name_end);
    char conversion = 0;
    if (f.starts_with("!")) {
      if (f.size() < 2 || (f.size() > 2 && f[2] != ':'))
        return env_.fail("malformed conversion in a format string"), "";
      conversion = f[1];
      f.remove_prefix(2);
    }
    if (env_.failed()) return "";
    if (conversion == 'r' || conversion == 'a')
      v = env_.str(repr(v));
    else if (conversion == 's')
      v = env_.str(to_str(env_, v));
    else if (conversion)
      return env_.fail("unknown conversion in a format string"), "";
    const std::string spec = f.starts_with(":") ? run(f.substr(1), level + 1) : "";
    std::string s = format_spec(env_, v, spec);
    return safe_ && !(v.str() && v.as<Str>().safe) ? escape_html(s) : s;
  }

  Value lookup(std::string_view name) {
    size_t end = name.find_first_of(".[");
    if (end == name.npos) end = name.size();
    Value v = first(name.substr(0, end));
    name.remove_prefix(end);
    while (!name.empty() && !env_.failed()) {
      if (name[0] == '.') {
        end = std::min(name.find_first_of(".[", 1), name.size());
        v = get_attr(env_, v, env_.str(std::string(name.substr(1, end - 1))));
        name.remove_prefix(end);
      } else {
        end = name.find(']');
        if (name[0] != '[' || end == name.npos) return env_.fail("malformed field name in a format string");
        const std::string_view key = name.substr(1, end - 1);
        int64_t index;
        v = get_item(env_, v, as_index(key, index) ? Value::integer(index) : env_.str(std::string(key)));
        name.remove_prefix(end + 1);
      }
    }
    return v;
  }

  static bool as_index(std::string_view s, int64_t& out) {
    if (s.empty() || s.size() > 9 || !std::all_of(s.begin(), s.end(), digit)) return false;
    out = std::atoll(std::string(s).c_str());
    return true;
  }

  Value first(std::string_view name) {
    int64_t i = auto_;
    if (name.empty() || as_index(name, i)) {
      if (numbering_ && numbering_ != (name.empty() ? 'a' : 'm'))
        return env_.fail("a format string cannot number some fields and leave others to count");
      numbering_ = name.empty() ? 'a' : 'm';
      auto_ += name.empty();
      if (i < static_cast<int64_t>(args_.pos.size())) return args_.pos[static_cast<size_t>(i)];
      return env_.fail("Replacement index " + std::to_string(i) + " out of range for positional args tuple");
    }
    for (const auto& [k, v] : args_.kw)
      if (k == name) return v;
    return env_.fail("no key " + str_repr(name) + " to format");
  }

  Env& env_;
  const bool safe_;
  const Args& args_;
  int64_t auto_ = 0;
  char numbering_ = 0;  // a: automatic, m: manual
};

}  // namespace

Value format_percent(Env& env, const Value& format, const Value& args) { return Percent(env, format, args).run(); }

Value format_braces(Env& env, const Value& format, const Args& args) {
  const bool safe = format.as<Str>().safe;
  return env.str(Braces(env, safe, args).run(format.s(), 0), safe);
}

}  // namespace xylem::jinja
