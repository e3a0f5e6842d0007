// Methods of strings, lists, dicts and the other values templates call.
#include <algorithm>
#include <cmath>
#include <span>

#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace xylem::jinja {

using Sv = std::string_view;

namespace {

bool safe(const Value& v) { return v.as<Str>().safe; }
Value like(Env& env, const Value& self, std::string s) { return env.str(std::move(s), safe(self)); }

bool no_args(Env& env, const char* name, const Args& a) { return bind(env, name, a, {}, 0, nullptr); }

bool want_str(Env& env, const char* name, const Value& v) {
  if (v.str()) return true;
  env.fail(std::string(name) + "() wants a string, not " + type_name(v));
  return false;
}

bool want_int(Env& env, const char* name, const Value& v, int64_t& out) {
  if (v.missing()) return true;
  if (v.integral()) {
    out = v.i();
    return true;
  }
  env.fail(std::string(name) + "() wants an integer, not " + type_name(v));
  return false;
}

template <std::string (*F)(Sv)>
Value mapped(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "this string method", a)) return self;
  return like(env, self, F(self.s()));
}

template <Side S>
Value str_strip(Env& env, const Value& self, const Args& a) {
  Value chars;
  if (!bind(env, "strip", a, {""}, 0, &chars)) return self;
  if (chars.missing() || chars.none_()) return like(env, self, std::string(strip(self.s(), S)));
  if (!want_str(env, "strip", chars)) return self;
  return like(env, self, std::string(strip_chars(self.s(), chars.s(), S)));
}

Value list_of(Env& env, const Value& self, const std::vector<Sv>& parts) {
  std::vector<Value> v;
  v.reserve(parts.size());
  for (auto p : parts) v.push_back(like(env, self, std::string(p)));
  return env.list(std::move(v));
}

std::vector<Sv> split_by(Sv s, Sv sep, int64_t max) {
  std::vector<Sv> out;
  size_t at;
  while ((max < 0 || static_cast<int64_t>(out.size()) < max) && (at = find_text(s, sep)) != s.npos) {
    out.push_back(s.substr(0, at));
    s.remove_prefix(at + sep.size());
  }
  out.push_back(s);
  return out;
}

std::vector<Sv> rsplit_by(Sv s, Sv sep, int64_t max) {
  std::vector<Sv> out;
  size_t end = s.size();
  for (size_t at : rfind_all(s, sep, max)) {
    out.push_back(s.substr(at + sep.size(), end - at - sep.size()));
    end = at;
  }
  out.push_back(s.substr(0, end));
  std::reverse(out.begin(), out.end());
  return out;
}

// Of the first or the last occurrence; npos if none.
size_t find_either(Sv s, Sv needle, bool last) {
  if (!last) return find_text(s, needle);
  if (needle.empty()) return s.size();
  const auto found = rfind_all(s, needle, 1);
  return found.empty() ? s.npos : found[0];
}

template <bool Right>
Value str_split(Env& env, const Value& self, const Args& a) {
  Value v[2];
  int64_t max = -1;
  if (!bind(env, "split", a, {"sep", "maxsplit"}, 0, v) || !want_int(env, "split", v[1], max)) return self;
  const std::string& s = self.s();
  if (!env.charge_bytes(s.size())) return self;
  if (v[0].missing() || v[0].none_()) return list_of(env, self, Right ? rsplit_space(s, max) : split_space(s, max));
  if (!want_str(env, "split", v[0])) return self;
  if (v[0].s().empty()) return env.fail("empty separator");
  return list_of(env, self, Right ? rsplit_by(s, v[0].s(), max) : split_by(s, v[0].s(), max));
}

Value str_splitlines(Env& env, const Value& self, const Args& a) {
  Value keep;
  if (!bind(env, "splitlines", a, {"keepends"}, 0, &keep)) return self;
  return list_of(env, self, split_lines(self.s(), truthy(keep)));
}

template <bool Right>
Value str_partition(Env& env, const Value& self, const Args& a) {
  Value sep;
  if (!bind(env, "partition", a, {""}, 1, &sep) || !want_str(env, "partition", sep)) return self;
  if (sep.s().empty()) return env.fail("empty separator");
  const Sv s = self.s();
  const size_t at = find_either(s, sep.s(), Right);
  auto part = [&](Sv p) { return like(env, self, std::string(p)); };
  if (at == s.npos) return Right ? env.tuple({part(""), part(""), part(s)}) : env.tuple({part(s), part(""), part("")});
  return env.tuple({part(s.substr(0, at)), sep, part(s.substr(at + sep.s().size()))});
}

// The part of a string that [start, end) in characters selects, and its byte offset; false when it is empty for sure.
bool sub_range(Env& env, const Value& self, const Value& start_v, const Value& end_v, Sv& out, size_t& offset) {
  const int64_t n = char_count(self);
  int64_t start = 0, end = n;
  if (!start_v.none_() && !want_int(env, "this string method", start_v, start)) return false;
  if (!end_v.none_() && !want_int(env, "this string method", end_v, end)) return false;
  auto clamp = [n](int64_t i) { return i < 0 ? std::max<int64_t>(i < -n ? 0 : i + n, 0) : i; };
  start = clamp(start);
  end = std::min(clamp(end), n);
  if (start > end) return false;
  const Sv s = self.s();
  offset = self.as<Str>().ascii ? static_cast<size_t>(start) : offset_of(s, start);
  const size_t stop = self.as<Str>().ascii ? static_cast<size_t>(end) : offset_of(s, end);
  out = s.substr(offset, stop - offset);
  return true;
}

template <bool Suffix>
Value str_affix(Env& env, const Value& self, const Args& a) {
  const char* name = Suffix ? "endswith" : "startswith";
  Value v[3];
  Sv s;
  size_t offset;
  if (!bind(env, name, a, {"", "", ""}, 1, v)) return self;
  if (!sub_range(env, self, v[1], v[2], s, offset)) return Value::boolean(false);
  auto match = [&](const Value& x) { return Suffix ? s.ends_with(x.s()) : s.starts_with(x.s()); };
  if (v[0].str()) return Value::boolean(match(v[0]));
  if (!v[0].is(Kind::kTuple))
    return env.fail(std::string(name) + " first arg must be str or a tuple of str, not " + type_name(v[0]));
  for (const auto& x : v[0].items()) {
    if (!want_str(env, name, x)) return self;
    if (match(x)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

template <bool Right, bool MustExist>
Value str_find(Env& env, const Value& self, const Args& a) {
  Value v[3];
  Sv s;
  size_t offset = 0, at = Sv::npos;
  if (!bind(env, "find", a, {"", "", ""}, 1, v) || !want_str(env, "find", v[0])) return self;
  env.charge_bytes(self.s().size());
  if (sub_range(env, self, v[1], v[2], s, offset)) at = find_either(s, v[0].s(), Right);
  if (at == Sv::npos) return MustExist ? env.fail("substring not found") : Value::integer(-1);
  return Value::integer(count_code_points(Sv(self.s()).substr(0, offset + at)));
}

Value str_count(Env& env, const Value& self, const Args& a) {
  Value v[3];
  Sv s;
  size_t offset;
  if (!bind(env, "count", a, {"", "", ""}, 1, v) || !want_str(env, "count", v[0])) return self;
  env.charge_bytes(self.s().size());
  if (!sub_range(env, self, v[1], v[2], s, offset)) return Value::integer(0);
  if (v[0].s().empty()) return Value::integer(count_code_points(s) + 1);
  return Value::integer(static_cast<int64_t>(split_by(s, v[0].s(), -1).size()) - 1);
}

Value str_replace(Env& env, const Value& self, const Args& a) {
  Value v[3];
  int64_t count = -1;
  if (!bind(env, "replace", a, {"", "", "count"}, 2, v) || !want_int(env, "replace", v[2], count)) return self;
  if (!want_str(env, "replace", v[0]) || !want_str(env, "replace", v[1])) return self;
  const bool markup = safe(self) && !safe(v[1]);
  return replace_all(env, self, v[0].s(), markup ? escape_html(v[1].s()) : v[1].s(), count);
}

Value str_join(Env& env, const Value& self, const Args& a) {
  Value seq;
  std::vector<Value> items;
  if (!bind(env, "join", a, {""}, 1, &seq) || !collect(env, seq, items)) return self;
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].str())
      return env.fail("sequence item " + std::to_string(i) + ": expected str instance, " + type_name(items[i]) +
                      " found");
    if (i) out += self.s();
    out += safe(self) && !safe(items[i]) ? escape_html(items[i].s()) : items[i].s();
    if (out.size() > kMaxOutputBytes) break;
  }
  return like(env, self, std::move(out));
}

Value str_format(Env& env, const Value& self, const Args& a) { return format_braces(env, self, a); }

template <bool Suffix>
Value str_remove(Env& env, const Value& self, const Args& a) {
  Value v;
  if (!bind(env, Suffix ? "removesuffix" : "removeprefix", a, {""}, 1, &v) || !want_str(env, "removeprefix", v))
    return self;
  Sv s = self.s();
  if (Suffix && s.ends_with(v.s())) s.remove_suffix(v.s().size());
  if (!Suffix && s.starts_with(v.s())) s.remove_prefix(v.s().size());
  return like(env, self, std::string(s));
}

template <bool (*F)(uint32_t)>
Value all_chars(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "this string method", a)) return self;
  const Sv s = self.s();
  for (size_t i = 0; i < s.size();)
    if (!F(next_code_point(s, i))) return Value::boolean(false);
  return Value::boolean(!s.empty());
}

bool is_alnum(uint32_t c) { return is_alpha(c) || is_numeric(c); }

Value str_isascii(Env& env, const Value& self, const Args& a) {
  no_args(env, "isascii", a);
  return Value::boolean(self.as<Str>().ascii);
}

Value str_isidentifier(Env& env, const Value& self, const Args& a) {
  no_args(env, "isidentifier", a);
  const Sv s = self.s();
  bool ok = !s.empty();
  for (size_t i = 0; i < s.size() && ok;) {
    const bool first = i == 0;
    const uint32_t c = next_code_point(s, i);
    ok = first ? c == '_' || is_alpha(c) : is_word(c);
  }
  return Value::boolean(ok);
}

Value str_istitle(Env& env, const Value& self, const Args& a) {
  no_args(env, "istitle", a);
  bool any = false, in_word = false;
  const Sv s = self.s();
  for (size_t i = 0; i < s.size();) {
    const uint32_t c = next_code_point(s, i);
    const bool big = is_upper(c) || is_title(c), small = is_lower(c);
    if ((big && in_word) || (small && !in_word)) return Value::boolean(false);
    any |= in_word = big || small;
  }
  return Value::boolean(any);
}

Value str_islower(Env& env, const Value& self, const Args& a) {
  no_args(env, "islower", a);
  return Value::boolean(all_cased(self.s(), false));
}
Value str_isupper(Env& env, const Value& self, const Args& a) {
  no_args(env, "isupper", a);
  return Value::boolean(all_cased(self.s(), true));
}

// Text padded to a width; where: share of the fill that goes to the left (0, 1, or 2 for half).
Value padded(Env& env, const Value& self, int64_t width, const std::string& fill, int where) {
  const int64_t n = width - char_count(self);
  if (n <= 0) return self;
  if (!env.check_size(static_cast<size_t>(std::min<int64_t>(width, INT32_MAX)) * fill.size())) return self;
  const int64_t left = where == 2 ? n / 2 + (n & width & 1) : where * n;
  std::string s;
  for (int64_t i = 0; i < left; ++i) s += fill;
  s += self.s();
  for (int64_t i = left; i < n; ++i) s += fill;
  return like(env, self, std::move(s));
}

template <int Where>
Value str_pad(Env& env, const Value& self, const Args& a) {
  Value v[2];
  int64_t width = 0;
  if (!bind(env, "center", a, {"", ""}, 1, v) || !want_int(env, "center", v[0], width)) return self;
  if (!v[1].missing() && (!v[1].str() || char_count(v[1]) != 1))
    return env.fail("The fill character must be exactly one character long");
  return padded(env, self, width, v[1].missing() ? " " : v[1].s(), Where);
}

Value str_zfill(Env& env, const Value& self, const Args& a) {
  Value v;
  int64_t width = 0;
  if (!bind(env, "zfill", a, {""}, 1, &v) || !want_int(env, "zfill", v, width)) return self;
  const std::string& s = self.s();
  const bool sign = !s.empty() && (s[0] == '+' || s[0] == '-');
  if (!sign) return padded(env, self, width, "0", 1);
  const Value rest = padded(env, env.str(s.substr(1)), width - 1, "0", 1);
  return env.failed() ? self : like(env, self, s[0] + rest.s());
}

Value str_expandtabs(Env& env, const Value& self, const Args& a) {
  Value v;
  int64_t size = 8, column = 0;
  if (!bind(env, "expandtabs", a, {"tabsize"}, 0, &v) || !want_int(env, "expandtabs", v, size)) return self;
  if (size > 1000) return env.fail("expandtabs() takes at most 1000");
  std::string out;
  const Sv s = self.s();
  for (size_t i = 0; i < s.size() && out.size() <= kMaxOutputBytes;) {
    const size_t begin = i;
    const uint32_t c = next_code_point(s, i);
    if (c == '\t') {
      const int64_t n = size > 0 ? size - column % size : 0;
      out.append(static_cast<size_t>(n), ' ');
      column += n;
    } else {
      out += s.substr(begin, i - begin);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return like(env, self, std::move(out));
}

Value seq_index(Env& env, const Value& self, const Args& a) {
  Value v;
  std::vector<Value> items;
  if (!bind(env, "index", a, {""}, 1, &v) || !collect(env, self, items)) return self;
  for (size_t i = 0; i < items.size(); ++i)
    if (equal(env, items[i], v)) return Value::integer(static_cast<int64_t>(i));
  return env.fail(repr(v) + " is not in " + type_name(self));
}

Value seq_count(Env& env, const Value& self, const Args& a) {
  Value v;
  std::vector<Value> items;
  if (!bind(env, "count", a, {""}, 1, &v) || !collect(env, self, items)) return self;
  return Value::integer(std::count_if(items.begin(), items.end(), [&](const Value& x) { return equal(env, x, v); }));
}

Value list_copy(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "copy", a)) return self;
  return env.list(self.items());
}

template <View::What W>
Value dict_view(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "items", a)) return self;
  auto v = std::make_shared<View>();
  v->what = W;
  v->dict = self;
  return env.object(Kind::kView, std::move(v), {self.depth(), self.weight()}, sizeof(View));
}

Value dict_get(Env& env, const Value& self, const Args& a) {
  Value v[2];
  if (!bind(env, "get", a, {"", ""}, 1, v)) return self;
  if (!check_hashable(env, v[0])) return self;
  if (const Value* found = self.as<Dict>().find(v[0])) return *found;
  return v[1].missing() ? Value::none() : v[1];
}

Value dict_copy(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "copy", a)) return self;
  auto d = std::make_shared<Dict>();
  d->v = self.as<Dict>().v;
  return env.dict(std::move(d));
}

Value float_is_integer(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "is_integer", a)) return self;
  return Value::boolean(std::floor(self.f()) == self.f() && std::isfinite(self.f()));
}

Value cycler_next(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "next", a)) return self;
  auto& c = self.as<Cycler>();
  Value v = c.v[c.pos];
  c.pos = (c.pos + 1) % c.v.size();
  return v;
}

Value cycler_reset(Env& env, const Value& self, const Args& a) {
  if (!no_args(env, "reset", a)) return self;
  self.as<Cycler>().pos = 0;
  return Value::none();
}

constexpr Builtin kStr[] = {
    {"capitalize", mapped<capitalize>},
    {"casefold", mapped<lower>},
    {"center", str_pad<2>},
    {"count", str_count},
    {"endswith", str_affix<true>},
    {"expandtabs", str_expandtabs},
    {"find", str_find<false, false>},
    {"format", str_format},
    {"index", str_find<false, true>},
    {"isalnum", all_chars<is_alnum>},
    {"isalpha", all_chars<is_alpha>},
    {"isascii", str_isascii},
    {"isdecimal", all_chars<is_decimal>},
    {"isdigit", all_chars<is_digit>},
    {"isidentifier", str_isidentifier},
    {"islower", str_islower},
    {"isnumeric", all_chars<is_numeric>},
    {"isspace", all_chars<is_space>},
    {"istitle", str_istitle},
    {"isupper", str_isupper},
    {"join", str_join},
    {"ljust", str_pad<0>},
    {"lower", mapped<lower>},
    {"lstrip", str_strip<kLeft>},
    {"partition", str_partition<false>},
    {"removeprefix", str_remove<false>},
    {"removesuffix", str_remove<true>},
    {"replace", str_replace},
    {"rfind", str_find<true, false>},
    {"rindex", str_find<true, true>},
    {"rjust", str_pad<1>},
    {"rpartition", str_partition<true>},
    {"rsplit", str_split<true>},
    {"rstrip", str_strip<kRight>},
    {"split", str_split<false>},
    {"splitlines", str_splitlines},
    {"startswith", str_affix<false>},
    {"strip", str_strip<kBoth>},
    {"swapcase", mapped<swapcase>},
    {"title", mapped<title>},
    {"upper", mapped<upper>},
    {"zfill", str_zfill},
};
constexpr Builtin kList[] = {{"index", seq_index}, {"count", seq_count}, {"copy", list_copy}};
constexpr Builtin kTuple[] = {{"index", seq_index}, {"count", seq_count}};
constexpr Builtin kDict[] = {{"get", dict_get},
                             {"items", dict_view<View::kItems>},
                             {"keys", dict_view<View::kKeys>},
                             {"values", dict_view<View::kValues>},
                             {"copy", dict_copy}};
constexpr Builtin kFloat[] = {{"is_integer", float_is_integer}};
constexpr Builtin kCycler[] = {{"next", cycler_next}, {"reset", cycler_reset}};

std::span<const Builtin> methods_of(const Value& v) {
  switch (v.kind()) {
    case Kind::kStr:
      return kStr;
    case Kind::kList:
      return kList;
    case Kind::kTuple:
    case Kind::kRange:
      return kTuple;
    case Kind::kDict:
      return kDict;
    case Kind::kFloat:
      return kFloat;
    case Kind::kCycler:
      return kCycler;
    default:
      return {};
  }
}

}  // namespace

Value replace_all(Env& env, const Value& self, Sv from, Sv to, int64_t count) {
  const Sv s = self.s();
  std::string out;
  if (!env.charge_bytes(s.size())) return self;
  if (from.empty()) {  // before every character and at the end
    for (size_t i = 0; out.size() <= kMaxOutputBytes; --count) {
      if (count != 0) out += to;
      if (i >= s.size()) break;
      const size_t begin = i;
      next_code_point(s, i);
      out += s.substr(begin, i - begin);
      if (count == 0) ++count;
    }
    return env.str(std::move(out), safe(self));
  }
  size_t i = 0;
  for (size_t at; count != 0 && (at = find_text(s, from, i)) != s.npos && out.size() <= kMaxOutputBytes; --count) {
    out += s.substr(i, at - i);
    out += to;
    i = at + from.size();
  }
  out += s.substr(i);
  return env.str(std::move(out), safe(self));
}

bool all_cased(Sv s, bool upper_case) {
  bool any = false;
  for (size_t i = 0; i < s.size();) {
    const uint32_t c = next_code_point(s, i);
    if (is_title(c) || (upper_case ? is_lower(c) : is_upper(c))) return false;
    any |= upper_case ? is_upper(c) : is_lower(c);
  }
  return any;
}

Value center(Env& env, const Value& text, int64_t width) { return padded(env, text, width, " ", 2); }

const Builtin* find_method(const Value& object, std::string_view name) {
  for (const auto& m : methods_of(object))
    if (m.name == name) return &m;
  return nullptr;
}

bool is_forbidden_method(const Value& object, std::string_view name) {
  static constexpr Sv kListNames[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
  static constexpr Sv kDictNames[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is(Kind::kList))
    return std::find(std::begin(kListNames), std::end(kListNames), name) != std::end(kListNames);
  if (object.dict()) return std::find(std::begin(kDictNames), std::end(kDictNames), name) != std::end(kDictNames);
  return false;
}

}  // namespace xylem::jinja
