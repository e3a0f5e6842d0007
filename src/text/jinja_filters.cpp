// Jinja2's filters.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_json.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace xylem::jinja {

namespace {

using Sv = std::string_view;

// soft_str: text as it is, anything else as str() gives it.
Value text_of(Env& env, const Value& v) { return v.str() ? v : env.str(to_str(env, v)); }

bool none_given(Env& env, const char* name, const Args& a) { return bind(env, name, a, {}, 0, nullptr); }

bool int_arg(Env& env, const char* name, const Value& v, int64_t& out) {
  if (v.missing()) return true;
  if (v.integral()) {
    out = v.i();
    return true;
  }
  env.fail(std::string("the filter '") + name + "' wants an integer, not " + type_name(v));
  return false;
}

template <std::string (*F)(Sv)>
Value mapped(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "this filter", a)) return self;
  const Value s = text_of(env, self);
  return env.failed() ? self : env.str(F(s.s()), s.as<Str>().safe);
}

// Words begin after spaces and - ( { [ <.
std::string title_words(Sv s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    size_t end = i, word = s.npos;
    while (end < s.size()) {
      const size_t begin = end;
      const uint32_t c = next_code_point(s, end);
      const bool gap = is_space(c) || (c < 0x80 && Sv("-({[<").find(static_cast<char>(c)) != Sv::npos);
      if (gap && word != s.npos) {
        end = begin;
        break;
      }
      if (gap)
        out += s.substr(begin, end - begin);
      else if (word == s.npos)
        word = begin;
    }
    if (word != s.npos) {
      size_t rest = word;
      next_code_point(s, rest);
      out += upper(s.substr(word, rest - word)) + lower(s.substr(rest, end - rest));
    }
    i = end;
  }
  return out;
}

Value f_trim(Env& env, const Value& self, const Args& a) {
  Value chars;
  if (!bind(env, "trim", a, {"chars"}, 0, &chars)) return self;
  const Value s = text_of(env, self);
  if (env.failed()) return self;
  if (chars.missing() || chars.none_()) return env.str(std::string(strip(s.s(), kBoth)), s.as<Str>().safe);
  if (!chars.str()) return env.fail("strip arg must be None or str");
  return env.str(std::string(strip_chars(s.s(), chars.s(), kBoth)), s.as<Str>().safe);
}

Value f_replace(Env& env, const Value& self, const Args& a) {
  Value v[3];
  int64_t count = -1;
  if (!bind(env, "replace", a, {"old", "new", "count"}, 2, v)) return self;
  if (!v[2].none_() && !int_arg(env, "replace", v[2], count)) return self;
  const Value s = env.str(to_str(env, self));
  if (env.failed()) return self;
  return replace_all(env, s, to_str(env, v[0]), to_str(env, v[1]), count);
}

Value f_length(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "length", a)) return self;
  return Value::integer(length_of(env, self));
}

Value f_list(Env& env, const Value& self, const Args& a) {
  std::vector<Value> v;
  if (!none_given(env, "list", a) || !collect(env, self, v)) return self;
  return env.list(std::move(v));
}

Value f_string(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "string", a)) return self;
  return text_of(env, self);
}

Value f_safe(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "safe", a)) return self;
  return env.str(to_str(env, self), true);
}

Value f_escape(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "escape", a)) return self;
  if (self.str() && self.as<Str>().safe) return self;
  return env.str(escape_html(to_str(env, self)), true);
}

Value f_forceescape(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "forceescape", a)) return self;
  return env.str(escape_html(to_str(env, self)), true);
}

Value f_default(Env& env, const Value& self, const Args& a) {
  Value v[2];
  if (!bind(env, "default", a, {"default_value", "boolean"}, 0, v)) return self;
  if (!self.undefined() && !(truthy(v[1]) && !truthy(self))) return self;
  return v[0].missing() ? env.str("") : v[0];
}

Value f_first(Env& env, const Value& self, const Args& a) {
  Value v;
  if (!none_given(env, "first", a)) return self;
  Cursor c(env, self);
  return c.next(env, v) ? v : env.undefined("No first item, sequence was empty.");
}

Value f_last(Env& env, const Value& self, const Args& a) {
  std::vector<Value> v;
  if (!none_given(env, "last", a)) return self;
  if (self.is(Kind::kIter)) return env.fail("'generator' object is not reversible");
  if (self.str()) {
    const Value c = get_item(env, self, Value::integer(-1));
    return c.undefined() && !env.failed() ? env.undefined("No last item, sequence was empty.") : c;
  }
  if (!collect(env, self, v)) return self;
  return v.empty() ? env.undefined("No last item, sequence was empty.") : v.back();
}

Value f_items(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "items", a)) return self;
  std::vector<Value> v;
  if (!self.undefined() && !self.dict()) return env.fail("Can only get item pairs from a mapping.");
  if (self.dict())
    for (const auto& [k, x] : self.as<Dict>().v) v.push_back(env.tuple({k, x}));
  return env.iter(std::move(v));
}

// ---- attributes by path, and sorting

// "a.b,c.0": what attribute= of a filter names.
struct Path {
  std::vector<Value> parts;
};

Path path_of(Env& env, const Value& attribute) {
  Path p;
  if (attribute.missing() || attribute.none_()) return p;
  if (!attribute.str()) {
    p.parts.push_back(attribute);
    return p;
  }
  Sv s = attribute.s();
  for (size_t dot = 0; dot != s.npos;) {
    dot = s.find('.');
    const Sv part = s.substr(0, dot);
    if (dot != s.npos) s.remove_prefix(dot + 1);
    const bool number = !part.empty() && part.size() < 10 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    p.parts.push_back(number ? Value::integer(std::atoll(std::string(part).c_str())) : env.str(std::string(part)));
  }
  return p;
}

std::vector<Path> paths_of(Env& env, const Value& attribute) {
  std::vector<Path> out;
  if (!attribute.str()) {
    out.push_back(path_of(env, attribute));
    return out;
  }
  Sv s = attribute.s();
  for (size_t comma = 0; comma != s.npos;) {
    comma = s.find(',');
    out.push_back(path_of(env, env.str(std::string(s.substr(0, comma)))));
    if (comma != s.npos) s.remove_prefix(comma + 1);
  }
  return out;
}

Value follow(Env& env, Value v, const Path& p, const Value& fallback = Value()) {
  for (const auto& part : p.parts) {
    v = get_item(env, v, part);
    if (v.undefined() && !fallback.missing() && !fallback.none_()) v = fallback;
  }
  return v;
}

Value ignoring_case(Env& env, const Value& v, const Value& case_sensitive) {
  return v.str() && !truthy(case_sensitive) ? env.str(lower(v.s())) : v;
}

struct Keyed {
  Value key, value;
};

void sort_by_key(Env& env, std::vector<Keyed>& v, bool reverse) {
  // Reversed twice, equal elements keep their order, as in Python.
  if (reverse) std::reverse(v.begin(), v.end());
  std::stable_sort(v.begin(), v.end(), [&](const Keyed& a, const Keyed& b) { return less(env, a.key, b.key); });
  if (reverse) std::reverse(v.begin(), v.end());
}

std::vector<Value> values_of(std::vector<Keyed>& v) {
  std::vector<Value> out;
  out.reserve(v.size());
  for (auto& k : v) out.push_back(std::move(k.value));
  return out;
}

Value f_sort(Env& env, const Value& self, const Args& a) {
  Value v[3];
  std::vector<Value> items;
  if (!bind(env, "sort", a, {"reverse", "case_sensitive", "attribute"}, 0, v) || !collect(env, self, items))
    return self;
  const auto paths = paths_of(env, v[2]);
  std::vector<Keyed> keyed;
  for (auto& x : items) {
    std::vector<Value> key;
    for (const auto& p : paths) key.push_back(ignoring_case(env, follow(env, x, p), v[1]));
    keyed.push_back({env.list(std::move(key)), std::move(x)});
    if (env.failed()) return self;
  }
  sort_by_key(env, keyed, truthy(v[0]));
  return env.list(values_of(keyed));
}

Value f_dictsort(Env& env, const Value& self, const Args& a) {
  Value v[3];
  if (!bind(env, "dictsort", a, {"case_sensitive", "by", "reverse"}, 0, v)) return self;
  if (self.undefined()) return env.fail(undefined_text(self));
  if (!self.dict()) return env.fail(str_repr(jinja_type_name(self)) + " has no attribute 'items'");
  const bool by_value = v[1].str() && v[1].s() == "value";
  if (!v[1].missing() && !by_value && !(v[1].str() && v[1].s() == "key"))
    return env.fail("You can only sort by either \"key\" or \"value\"");
  std::vector<Keyed> keyed;
  for (const auto& [k, x] : self.as<Dict>().v)
    keyed.push_back({ignoring_case(env, by_value ? x : k, v[0]), env.tuple({k, x})});
  sort_by_key(env, keyed, truthy(v[2]));
  return env.list(values_of(keyed));
}

Value f_unique(Env& env, const Value& self, const Args& a) {
  Value v[2];
  if (!bind(env, "unique", a, {"case_sensitive", "attribute"}, 0, v)) return self;
  const Path path = path_of(env, v[1]);
  Dict seen;
  std::vector<Value> out;
  Cursor c(env, self);
  for (Value x; c.next(env, x);) {
    const Value key = ignoring_case(env, follow(env, x, path), v[0]);
    if (!check_hashable(env, key)) return self;
    if (seen.find(key)) continue;
    seen.set(key, Value::none());
    out.push_back(x);
  }
  return env.iter(std::move(out));
}

template <bool Max>
Value f_extreme(Env& env, const Value& self, const Args& a) {
  Value v[2], best, best_key;
  if (!bind(env, Max ? "max" : "min", a, {"case_sensitive", "attribute"}, 0, v)) return self;
  const Path path = path_of(env, v[1]);
  Cursor c(env, self);
  for (Value x; c.next(env, x);) {
    const Value key = ignoring_case(env, follow(env, x, path), v[0]);
    if (!best.missing() && !(Max ? less(env, best_key, key) : less(env, key, best_key))) continue;
    best = x;
    best_key = key;
  }
  return best.missing() ? env.undefined("No aggregated item, sequence was empty.") : best;
}

Value f_groupby(Env& env, const Value& self, const Args& a) {
  Value v[3];
  std::vector<Value> items, groups;
  if (!bind(env, "groupby", a, {"attribute", "default", "case_sensitive"}, 1, v) || !collect(env, self, items))
    return self;
  const Path path = path_of(env, v[0]);
  std::vector<Keyed> keyed;
  for (auto& x : items) keyed.push_back({ignoring_case(env, follow(env, x, path, v[1]), v[2]), x});
  sort_by_key(env, keyed, false);
  for (size_t i = 0; i < keyed.size() && !env.failed();) {
    const Value grouper = follow(env, keyed[i].value, path, v[1]), key = keyed[i].key;
    std::vector<Value> members;
    while (i < keyed.size() && equal(env, keyed[i].key, key)) members.push_back(keyed[i++].value);
    Value group = env.tuple({grouper, env.list(std::move(members))});
    if (!env.failed()) group.as<Seq>().named_group = true;
    groups.push_back(std::move(group));
  }
  return env.list(std::move(groups));
}

Value f_reverse(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "reverse", a)) return self;
  if (self.str()) return slice(env, self, Value(), Value(), Value::integer(-1));
  std::vector<Value> v;
  if (!iterable(self)) return env.fail("argument must be iterable");
  if (!collect(env, self, v)) return self;
  std::reverse(v.begin(), v.end());
  return self.is(Kind::kIter) ? env.list(std::move(v)) : env.iter(std::move(v));
}

// ---- map and its kin

const Builtin* by_name(Env& env, const Value& name, bool filter) {
  const Builtin* b = name.str() ? (filter ? find_filter(name.s()) : find_test(name.s())) : nullptr;
  if (!b) env.fail(std::string(filter ? "No filter" : "No test") + " named " + repr(name) + ".");
  return b;
}

Args without_first(const Args& a, size_t n) {
  Args rest = a;
  rest.pos.erase(rest.pos.begin(), rest.pos.begin() + static_cast<ptrdiff_t>(n));
  return rest;
}

Value map_attribute(Env& env, const Value& self, const Args& a) {
  Value v[2];
  std::vector<Value> out;
  if (!bind(env, "map", a, {"attribute", "default"}, 1, v)) return self;
  const Path path = path_of(env, v[0]);
  Cursor c(env, self);
  for (Value x; c.next(env, x) && !env.failed();) out.push_back(follow(env, x, path, v[1]));
  return env.iter(std::move(out));
}

Value f_map(Env& env, const Value& self, const Args& a) {
  if (!truthy(self)) return env.iter({});
  if (a.pos.empty() && std::any_of(a.kw.begin(), a.kw.end(), [](auto& k) { return k.first == "attribute"; }))
    return map_attribute(env, self, a);
  if (a.pos.empty()) return env.fail("map requires a filter argument");
  const Builtin* filter = by_name(env, a.pos[0], true);
  if (!filter) return self;
  const Args rest = without_first(a, 1);
  std::vector<Value> out;
  Cursor c(env, self);
  for (Value x; c.next(env, x) && !env.failed();) out.push_back(filter->fn(env, x, rest));
  return env.iter(std::move(out));
}

template <bool Keep, bool Attr>
Value f_select(Env& env, const Value& self, const Args& a) {
  if (!truthy(self)) return env.iter({});
  const size_t skip = Attr ? 1 : 0;
  if (a.pos.size() < skip) return env.fail("Missing parameter for attribute name");
  const Path path = Attr ? path_of(env, a.pos[0]) : Path();
  const Builtin* test = nullptr;
  Args rest;
  if (a.pos.size() > skip) {
    test = by_name(env, a.pos[skip], false);
    if (!test) return self;
    rest = without_first(a, skip + 1);
  }
  std::vector<Value> out;
  Cursor c(env, self);
  for (Value x; c.next(env, x) && !env.failed();) {
    const Value subject = follow(env, x, path);
    if (truthy(test ? test->fn(env, subject, rest) : subject) == Keep) out.push_back(x);
  }
  return env.iter(std::move(out));
}

Value f_join(Env& env, const Value& self, const Args& a) {
  Value v[2];
  if (!bind(env, "join", a, {"d", "attribute"}, 0, v)) return self;
  const std::string sep = v[0].missing() ? "" : to_str(env, v[0]);
  const Path path = path_of(env, v[1]);
  std::string out;
  bool first = true;
  Cursor c(env, self);
  for (Value x; c.next(env, x) && out.size() <= kMaxOutputBytes;) {
    if (!std::exchange(first, false)) out += sep;
    const Value item = follow(env, x, path);
    out += item.str() ? item.s() : to_str(env, item);
  }
  return env.str(std::move(out));
}

Value f_sum(Env& env, const Value& self, const Args& a) {
  Value v[2];
  if (!bind(env, "sum", a, {"attribute", "start"}, 0, v)) return self;
  const Path path = path_of(env, v[0]);
  Value total = v[1].missing() ? Value::integer(0) : v[1];
  if (total.str()) return env.fail("sum() can't sum strings [use ''.join(seq) instead]");
  Cursor c(env, self);
  for (Value x; c.next(env, x) && !env.failed();) total = arithmetic(env, Op::kAdd, total, follow(env, x, path));
  return total;
}

// ---- numbers

std::optional<int64_t> parse_int(Sv s, int base) {
  s = strip(s, kBoth);
  bool negative = false;
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) {
    negative = s[0] == '-';
    s.remove_prefix(1);
  }
  if (s.size() > 2 && s[0] == '0') {
    const char c = static_cast<char>(s[1] | 0x20);
    const int prefix = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    if (prefix && (base == prefix || base == 0)) {
      s.remove_prefix(s[2] == '_' ? 3 : 2);
      base = prefix;
    }
  }
  std::string digits;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '_' && i > 0 && i + 1 < s.size() && s[i - 1] != '_') continue;
    if (!std::isalnum(static_cast<unsigned char>(s[i]))) return std::nullopt;
    digits += s[i];
  }
  int64_t value = 0;
  if (negative) digits.insert(0, 1, '-');
  auto [p, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base ? base : 10);
  if (ec != std::errc() || p != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_float(Sv s) {
  std::string t;
  s = strip(s, kBoth);
  for (size_t i = 0; i < s.size(); ++i) {
    auto digit = [&](size_t k) { return k < s.size() && std::isdigit(static_cast<unsigned char>(s[k])); };
    if (s[i] == '_' && i > 0 && digit(i - 1) && digit(i + 1)) continue;
    t += static_cast<char>(std::tolower(static_cast<unsigned char>(s[i])));
  }
  const bool sign = !t.empty() && (t[0] == '+' || t[0] == '-');
  const Sv body = Sv(t).substr(sign ? 1 : 0);
  if (body.empty() || !(std::isdigit(static_cast<unsigned char>(body[0])) || body[0] == '.' || body == "inf" ||
                        body == "infinity" || body == "nan"))
    return std::nullopt;
  double f = 0;
  auto [p, ec] = std::from_chars(body.data(), body.data() + body.size(), f);
  if (p != body.data() + body.size()) return std::nullopt;
  if (ec == std::errc::result_out_of_range) f = body.find("e-") == body.npos ? HUGE_VAL : 0;
  return t[0] == '-' ? -f : f;
}

bool fits_int(double f) { return f >= -9223372036854775808.0 && f < 9223372036854775808.0; }

Value f_int(Env& env, const Value& self, const Args& a) {
  Value v[2];
  int64_t base = 10;
  if (!bind(env, "int", a, {"default", "base"}, 0, v) || !int_arg(env, "int", v[1], base)) return self;
  const Value fallback = v[0].missing() ? Value::integer(0) : v[0];
  if (self.undefined()) return env.fail(undefined_text(self));
  if (base != 0 && (base < 2 || base > 36)) base = 10;
  if (self.integral()) return Value::integer(self.i());
  std::optional<double> f;
  if (self.str()) {
    if (auto i = parse_int(self.s(), static_cast<int>(base))) return Value::integer(*i);
    f = parse_float(self.s());
    if (f && std::isinf(*f)) return fallback;
  } else if (self.is(Kind::kFloat)) {
    f = self.f();
    if (std::isinf(*f)) return env.fail("cannot convert float infinity to integer");
  }
  if (!f || std::isnan(*f)) return fallback;
  if (!fits_int(*f)) return env.fail("integer overflow: the result does not fit 64 bits");
  return Value::integer(static_cast<int64_t>(*f));
}

Value f_float(Env& env, const Value& self, const Args& a) {
  Value v;
  if (!bind(env, "float", a, {"default"}, 0, &v)) return self;
  if (self.undefined()) return env.fail(undefined_text(self));
  if (self.number()) return Value::real(self.f());
  if (self.str())
    if (auto f = parse_float(self.s())) return Value::real(*f);
  return v.missing() ? Value::real(0) : v;
}

Value f_abs(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "abs", a)) return self;
  if (self.is(Kind::kFloat)) return Value::real(std::fabs(self.f()));
  if (!self.integral()) return env.fail("bad operand type for abs(): " + str_repr(type_name(self)));
  return self.i() < 0 ? negate(env, Op::kNeg, self) : Value::integer(self.i());
}

double round_decimal(double f, int64_t digits) {
  if (!std::isfinite(f) || digits > 300) return f;
  if (digits < 0) {
    if (digits < -308) return 0.0 * f;
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(f / unit) * unit;
  }
  char buf[700];  // 309 digits before the point, 300 behind
  std::snprintf(buf, sizeof buf, "%.*f", static_cast<int>(digits), f);
  return std::strtod(buf, nullptr);
}

Value f_round(Env& env, const Value& self, const Args& a) {
  Value v[2];
  int64_t precision = 0;
  if (!bind(env, "round", a, {"precision", "method"}, 0, v)) return self;
  const std::string method = v[1].str() ? v[1].s() : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    return env.fail("method must be common, ceil or floor");
  if (!int_arg(env, "round", v[0], precision)) return self;
  if (self.undefined()) return env.fail(undefined_text(self));
  if (!self.number()) return env.fail("type " + std::string(type_name(self)) + " doesn't define __round__ method");
  env.charge(100);  // as in formats, digits of doubles are slow
  if (method == "common") {
    if (self.integral() && precision >= 0) return Value::integer(self.i());
    const double r = round_decimal(self.f(), precision);
    return self.integral() ? Value::integer(static_cast<int64_t>(r)) : Value::real(r);
  }
  const double scale = std::pow(10.0, static_cast<double>(std::clamp<int64_t>(precision, -300, 300)));
  if (!std::isfinite(self.f() * scale)) return env.fail("cannot convert float infinity to integer");
  return Value::real((method == "ceil" ? std::ceil(self.f() * scale) : std::floor(self.f() * scale)) / scale);
}

// ---- text

Value f_indent(Env& env, const Value& self, const Args& a) {
  Value v[3];
  int64_t width = 4;
  if (!bind(env, "indent", a, {"width", "first", "blank"}, 0, v)) return self;
  if (!self.str())
    return env.fail(self.undefined() ? undefined_text(self)
                                     : "the filter 'indent' wants a string, not " + std::string(type_name(self)));
  if (!v[0].str() && !int_arg(env, "indent", v[0], width)) return self;
  if (width > 10000) return env.fail("the filter 'indent' takes at most 10000");
  const std::string pad = v[0].str() ? v[0].s() : std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  const std::string source = self.s() + "\n";
  std::string out = truthy(v[1]) ? pad : "";
  bool first = true;
  for (Sv line : split_lines(source, false)) {
    if (!first) out += '\n';
    if (!first && (truthy(v[2]) || !line.empty())) out += pad;
    out += line;
    first = false;
    if (out.size() > kMaxOutputBytes) break;
  }
  return env.str(std::move(out), self.as<Str>().safe);
}

Value f_wordcount(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "wordcount", a)) return self;
  const std::string s = to_str(env, self);
  int64_t n = 0;
  bool in_word = false;
  for (size_t i = 0; i < s.size();) {
    const bool w = is_word(next_code_point(s, i));
    n += w && !in_word;
    in_word = w;
  }
  return Value::integer(n);
}

Value f_format(Env& env, const Value& self, const Args& a) {
  if (!a.pos.empty() && !a.kw.empty())
    return env.fail("can't handle positional and keyword arguments at the same time");
  const Value format = text_of(env, self);
  if (env.failed()) return self;
  if (a.kw.empty()) return format_percent(env, format, env.tuple(a.pos));
  auto d = std::make_shared<Dict>();
  for (const auto& [k, v] : a.kw) d->set(env.str(k), v);
  return format_percent(env, format, env.dict(std::move(d)));
}

Value f_center(Env& env, const Value& self, const Args& a) {
  Value v;
  int64_t width = 80;
  if (!bind(env, "center", a, {"width"}, 0, &v) || !int_arg(env, "center", v, width)) return self;
  const Value s = text_of(env, self);
  return env.failed() ? self : center(env, s, width);
}

Value f_truncate(Env& env, const Value& self, const Args& a) {
  Value v[4];
  int64_t length = 255, leeway = 5;
  if (!bind(env, "truncate", a, {"length", "killwords", "end", "leeway"}, 0, v) ||
      !int_arg(env, "truncate", v[0], length))
    return self;
  if (!v[3].none_() && !int_arg(env, "truncate", v[3], leeway)) return self;
  const Value end = v[2].missing() ? env.str("...") : v[2];
  if (!self.str() || !end.str()) return env.fail("the filter 'truncate' wants strings");
  if (length < char_count(end) || leeway < 0) return env.fail("expected length >= " + std::to_string(char_count(end)));
  if (char_count(self) <= length + leeway) return self;
  const Value cut = slice(env, self, Value(), Value::integer(length - char_count(end)), Value());
  if (env.failed() || truthy(v[1])) return env.failed() ? self : concat(env, cut, end);
  const size_t space = cut.s().rfind(' ');
  return env.str(cut.s().substr(0, space) + end.s(), self.as<Str>().safe);
}

Value f_batch(Env& env, const Value& self, const Args& a) {
  Value v[2];
  int64_t n = 0;
  std::vector<Value> out, row;
  if (!bind(env, "batch", a, {"linecount", "fill_with"}, 1, v) || !int_arg(env, "batch", v[0], n)) return self;
  Cursor c(env, self);
  for (Value x; c.next(env, x);) {
    if (static_cast<int64_t>(row.size()) == n) out.push_back(env.list(std::exchange(row, {})));
    row.push_back(x);
  }
  if (row.empty()) return env.iter(std::move(out));
  if (!v[1].missing() && !v[1].none_() && env.check_size(static_cast<size_t>(std::max<int64_t>(n, 0))))
    while (static_cast<int64_t>(row.size()) < n) row.push_back(v[1]);
  out.push_back(env.list(std::move(row)));
  return env.iter(std::move(out));
}

Value f_slice(Env& env, const Value& self, const Args& a) {
  Value v[2];
  int64_t n = 0;
  std::vector<Value> items, out;
  if (!bind(env, "slice", a, {"slices", "fill_with"}, 1, v) || !int_arg(env, "slice", v[0], n) ||
      !collect(env, self, items))
    return self;
  if (n == 0) return env.fail("integer division or modulo by zero");
  const int64_t size = static_cast<int64_t>(items.size());
  for (int64_t i = 0, at = 0; i < n && env.charge(1); ++i) {
    const int64_t take = size / n + (i < size % n);
    std::vector<Value> row(items.begin() + at, items.begin() + at + take);
    at += take;
    if (!v[1].missing() && !v[1].none_() && i >= size % n) row.push_back(v[1]);
    out.push_back(env.list(std::move(row)));
  }
  return env.iter(std::move(out));
}

Value f_attr(Env& env, const Value& self, const Args& a) {
  Value name;
  if (!bind(env, "attr", a, {"name"}, 1, &name)) return self;
  if (!name.str()) return env.fail("attribute name must be string, not " + str_repr(type_name(name)));
  if (self.dict() && !find_method(self, name.s())) return env.undefined_item(self, name);
  return get_attr(env, self, name);
}

Value f_urlencode(Env& env, const Value& self, const Args& a) {
  if (!none_given(env, "urlencode", a)) return self;
  if (iterable(self) && !self.str()) return env.fail("the filter 'urlencode' is supported for strings only");
  static const char* hex = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : to_str(env, self)) {
    if (c < 0x80 && (std::isalnum(c) || Sv("_.-~/").find(static_cast<char>(c)) != Sv::npos))
      out += static_cast<char>(c);
    else
      ((out += '%') += hex[c >> 4]) += hex[c & 15];
  }
  return env.str(std::move(out));
}

constexpr Builtin kFilters[] = {
    {"abs", f_abs},
    {"attr", f_attr},
    {"batch", f_batch},
    {"capitalize", mapped<capitalize>},
    {"center", f_center},
    {"count", f_length},
    {"d", f_default},
    {"default", f_default},
    {"dictsort", f_dictsort},
    {"e", f_escape},
    {"escape", f_escape},
    {"first", f_first},
    {"float", f_float},
    {"forceescape", f_forceescape},
    {"format", f_format},
    {"groupby", f_groupby},
    {"indent", f_indent},
    {"int", f_int},
    {"items", f_items},
    {"join", f_join},
    {"last", f_last},
    {"length", f_length},
    {"list", f_list},
    {"lower", mapped<lower>},
    {"map", f_map},
    {"max", f_extreme<true>},
    {"min", f_extreme<false>},
    {"reject", f_select<false, false>},
    {"rejectattr", f_select<false, true>},
    {"replace", f_replace},
    {"reverse", f_reverse},
    {"round", f_round},
    {"safe", f_safe},
    {"select", f_select<true, false>},
    {"selectattr", f_select<true, true>},
    {"slice", f_slice},
    {"sort", f_sort},
    {"string", f_string},
    {"sum", f_sum},
    {"title", mapped<title_words>},
    {"tojson", to_json},
    {"trim", f_trim},
    {"truncate", f_truncate},
    {"unique", f_unique},
    {"upper", mapped<upper>},
    {"urlencode", f_urlencode},
    {"wordcount", f_wordcount},
};
constexpr Sv kOmitted[] = {"filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"};

}  // namespace

const Builtin* find_filter(Sv name) {
  for (const auto& f : kFilters)
    if (f.name == name) return &f;
  return nullptr;
}

bool is_omitted_filter(Sv name) {
  return std::find(std::begin(kOmitted), std::end(kOmitted), name) != std::end(kOmitted);
}

}  // namespace xylem::jinja
