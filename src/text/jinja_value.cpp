#include "text/jinja_value.h"

#include <charconv>
#include <cmath>

#include "text/jinja_env.h"
#include "text/jinja_unicode.h"

namespace xylem::jinja {

namespace {
constexpr size_t kSmallDict = 12;  // below, a scan beats hashing
constexpr int kMaxReprDepth = 600;
}  // namespace

template <class Match>
const Value* Dict::find_hashed(size_t hash, Match match) const {
  if (index_.size() != v.size()) {
    index_.clear();
    for (size_t i = 0; i < v.size(); ++i) index_.emplace(hash_value(v[i].first), static_cast<uint32_t>(i));
  }
  auto [lo, hi] = index_.equal_range(hash);
  for (auto it = lo; it != hi; ++it)
    if (match(v[it->second].first)) return &v[it->second].second;
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  auto match = [&](const Value& k) { return k.str() && k.s() == key; };
  if (v.size() > kSmallDict) return find_hashed(std::hash<std::string_view>{}(key), match);
  for (const auto& [k, value] : v)
    if (match(k)) return &value;
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.str()) return find(key.s());
  auto match = [&](const Value& k) { return equal(k, key); };
  if (v.size() > kSmallDict) return find_hashed(hash_value(key), match);
  for (const auto& [k, value] : v)
    if (match(k)) return &value;
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (const Value* old = find(key)) {
    *const_cast<Value*>(old) = std::move(value);
    return;
  }
  if (index_.size() == v.size() && !v.empty()) index_.emplace(hash_value(key), static_cast<uint32_t>(v.size()));
  v.emplace_back(std::move(key), std::move(value));
}

const char* type_name(const Value& v) {
  switch (v.kind()) {
    case Kind::kMissing:
      return "missing";
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kStr:
      return v.as<Str>().safe ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kRange:
      return "range";
    case Kind::kIter:
      return "generator";
    case Kind::kView: {
      auto what = v.as<View>().what;
      return what == View::kKeys ? "dict_keys" : what == View::kValues ? "dict_values" : "dict_items";
    }
    case Kind::kMacro:
      return "Macro";
    case Kind::kFunc:
      return "builtin_function_or_method";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
  }
  return "?";
}

const char* jinja_type_name(const Value& v) {
  switch (v.kind()) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "bool object";
    case Kind::kInt:
      return "int object";
    case Kind::kFloat:
      return "float object";
    case Kind::kStr:
      return v.as<Str>().safe ? "markupsafe.Markup object" : "str object";
    case Kind::kList:
      return "list object";
    case Kind::kTuple:
      return "tuple object";
    case Kind::kDict:
      return "dict object";
    case Kind::kNamespace:
      return "jinja2.utils.Namespace object";
    case Kind::kRange:
      return "range object";
    case Kind::kIter:
      return "generator object";
    case Kind::kView:
      return "dict view object";
    case Kind::kMacro:
      return "jinja2.runtime.Macro object";
    case Kind::kLoop:
      return "jinja2.runtime.LoopContext object";
    case Kind::kCycler:
      return "jinja2.utils.Cycler object";
    case Kind::kJoiner:
      return "jinja2.utils.Joiner object";
    default:
      return "function object";
  }
}

std::string undefined_text(const Value& v) {
  const auto& u = v.as<Undefined>();
  if (!u.hint.empty()) return u.hint;
  if (!u.type) return str_repr(u.name) + " is undefined";
  if (!u.name_is_str) return std::string(u.type) + " has no element " + u.name;
  return str_repr(u.type) + " has no attribute " + str_repr(u.name);
}

bool truthy(const Value& v) {
  switch (v.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return v.i() != 0;
    case Kind::kFloat:
      return v.f() != 0;
    case Kind::kStr:
      return !v.s().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !v.items().empty();
    case Kind::kDict:
      return !v.as<Dict>().v.empty();
    case Kind::kRange:
      return v.as<Range>().length > 0;
    case Kind::kView:
      return !v.as<View>().dict.as<Dict>().v.empty();
    default:
      return true;
  }
}

bool hashable(const Value& v) {
  switch (v.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView:
      return false;
    case Kind::kTuple:
      for (const auto& x : v.items())
        if (!hashable(x)) return false;
      return true;
    default:
      return true;
  }
}

size_t hash_value(const Value& v) {
  switch (v.kind()) {
    case Kind::kStr:
      return std::hash<std::string_view>{}(v.s());
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return std::hash<double>{}(v.f());
    case Kind::kTuple: {
      size_t h = 7;
      for (const auto& x : v.items()) h = h * 1000003 ^ hash_value(x);
      return h;
    }
    case Kind::kUndefined:
      return 1;
    case Kind::kNone:
      return 2;
    default:
      return std::hash<const void*>{}(v.object().get());
  }
}

namespace {

bool equal_number(const Value& a, const Value& b) {
  if (a.integral() && b.integral()) return a.i() == b.i();
  auto wide = [](const Value& v) { return v.integral() ? static_cast<long double>(v.i()) : v.f(); };
  return wide(a) == wide(b);
}

bool equal_dict(const Dict& a, const Dict& b) {
  if (a.v.size() != b.v.size()) return false;
  for (const auto& [k, v] : a.v) {
    const Value* other = b.find(k);
    if (!other || !equal(v, *other)) return false;
  }
  return true;
}

bool equal_seq(const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal(a[i], b[i])) return false;
  return true;
}

bool equal_range(const Range& a, const Range& b) {
  if (a.length != b.length) return false;
  return a.length == 0 || (a.start == b.start && (a.length == 1 || a.step == b.step));
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  if (a.number() && b.number()) return equal_number(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kStr:
      return a.s() == b.s();
    case Kind::kList:
    case Kind::kTuple:
      return a.object() == b.object() || equal_seq(a.items(), b.items());
    case Kind::kDict:
      return a.object() == b.object() || equal_dict(a.as<Dict>(), b.as<Dict>());
    case Kind::kRange:
      return equal_range(a.as<Range>(), b.as<Range>());
    case Kind::kFunc:
      return a.as<Func>().builtin == b.as<Func>().builtin && same(a.as<Func>().self, b.as<Func>().self);
    default:
      return a.object() == b.object();
  }
}

bool same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.object() || b.object()) return a.object() == b.object() || (a.str() && a.s() == b.s());
  if (a.is(Kind::kFloat)) return a.f() == b.f();
  return a.i() == b.i();
}

std::string float_repr(double f) {
  if (std::isnan(f)) return "nan";
  if (std::isinf(f)) return f < 0 ? "-inf" : "inf";
  char buf[64];
  auto end = std::to_chars(buf, buf + sizeof buf, f, std::chars_format::scientific).ptr;
  std::string_view sci(buf, end - buf);
  size_t e = sci.find('e');
  int exp = std::atoi(std::string(sci.substr(e + 1)).c_str());
  if (exp < -4 || exp >= 16) return std::string(sci.substr(0, e)) + sci[e] + std::string(sci.substr(e + 1));
  end = std::to_chars(buf, buf + sizeof buf, f, std::chars_format::fixed).ptr;
  std::string s(buf, end - buf);
  if (s.find('.') == std::string::npos) s += ".0";
  return s;
}

std::string float_repr(const Value& v) { return v.object() ? v.as<Str>().s : float_repr(v.f()); }

std::string str_repr(std::string_view s) {
  const char quote = s.find('\'') != s.npos && s.find('"') == s.npos ? '"' : '\'';
  std::string out(1, quote);
  static const char* hex = "0123456789abcdef";
  for (size_t i = 0; i < s.size();) {
    const size_t begin = i;
    const uint32_t c = next_code_point(s, i);
    if (c == static_cast<uint32_t>(quote) || c == '\\')
      (out += '\\') += static_cast<char>(c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (is_printable(c))
      out += s.substr(begin, i - begin);
    else {
      const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
      (out += '\\') += digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
      for (int d = digits - 1; d >= 0; --d) out += hex[(c >> (4 * d)) & 15];
    }
  }
  return out += quote;
}

namespace {

bool append_items(const std::vector<Value>& v, char open, char close, std::string& out, int depth) {
  out += open;
  for (size_t i = 0; i < v.size(); ++i) {
    if (i) out += ", ";
    if (!append_repr(v[i], out, depth)) return false;
  }
  out += close;
  return true;
}

bool append_dict(const Dict& d, std::string& out, int depth) {
  out += '{';
  for (size_t i = 0; i < d.v.size(); ++i) {
    if (i) out += ", ";
    if (!append_repr(d.v[i].first, out, depth)) return false;
    out += ": ";
    if (!append_repr(d.v[i].second, out, depth)) return false;
  }
  out += '}';
  return true;
}

bool append_view(const Value& v, std::string& out, int depth) {
  out += std::string(type_name(v)) + "([";
  const auto& view = v.as<View>();
  bool first = true;
  for (const auto& [k, x] : view.dict.as<Dict>().v) {
    if (!std::exchange(first, false)) out += ", ";
    if (view.what == View::kItems) out += '(';
    if (view.what != View::kValues && !append_repr(k, out, depth)) return false;
    if (view.what == View::kItems) out += ", ";
    if (view.what != View::kKeys && !append_repr(x, out, depth)) return false;
    if (view.what == View::kItems) out += ')';
  }
  out += "])";
  return true;
}

std::string range_repr(const Range& r) {
  std::string s = "range(" + std::to_string(r.start) + ", " + std::to_string(r.start + r.step * r.length);
  if (r.step != 1) s += ", " + std::to_string(r.step);
  return s + ")";
}

}  // namespace

bool append_repr(const Value& v, std::string& out, int depth) {
  if (++depth > kMaxReprDepth || out.size() > kMaxOutputBytes) return false;
  switch (v.kind()) {
    case Kind::kMissing:
      return true;
    case Kind::kUndefined:
      out += "Undefined";
      return true;
    case Kind::kNone:
      out += "None";
      return true;
    case Kind::kBool:
      out += v.b() ? "True" : "False";
      return true;
    case Kind::kInt:
      out += std::to_string(v.i());
      return true;
    case Kind::kFloat:
      out += float_repr(v);
      return true;
    case Kind::kStr:
      out += v.as<Str>().safe ? "Markup(" + str_repr(v.s()) + ")" : str_repr(v.s());
      return true;
    case Kind::kList:
      return append_items(v.items(), '[', ']', out, depth);
    case Kind::kTuple:
      if (v.items().size() != 1) return append_items(v.items(), '(', ')', out, depth);
      out += '(';
      if (!append_repr(v.items()[0], out, depth)) return false;
      out += ",)";
      return true;
    case Kind::kDict:
      return append_dict(v.as<Dict>(), out, depth);
    case Kind::kNamespace:
      out += "<Namespace ";
      if (!append_dict(v.as<Dict>(), out, depth)) return false;
      out += '>';
      return true;
    case Kind::kView:
      return append_view(v, out, depth);
    case Kind::kRange:
      out += range_repr(v.as<Range>());
      return true;
    case Kind::kMacro:
      out += "<Macro " + str_repr(v.as<Macro>().name) + ">";
      return true;
    case Kind::kIter:
      out += "<generator object>";
      return true;
    default:
      out += std::string("<") + type_name(v) + " object>";
      return true;
  }
}

bool append_str(const Value& v, std::string& out) {
  if (v.str())
    out += v.s();
  else if (!v.undefined())
    return append_repr(v, out);
  return true;
}

std::string repr(const Value& v) {
  std::string s;
  append_repr(v, s);
  return s;
}

Value constant(std::string s) {
  auto o = std::make_shared<Str>();
  o->s = std::move(s);
  o->ascii = is_ascii(o->s);
  return Value(Kind::kStr, std::move(o));
}

}  // namespace xylem::jinja
