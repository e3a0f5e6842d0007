#include "text/jinja_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace xylem::jinja {

namespace {

Value from(Env& env, const nlohmann::ordered_json& j, uint32_t depth) {
  if (depth > kMaxNesting) return env.fail("the input nests deeper than " + std::to_string(kMaxNesting) + " levels");
  switch (j.type()) {
    case nlohmann::json::value_t::boolean:
      return Value::boolean(j.get<bool>());
    case nlohmann::json::value_t::number_integer:
      return Value::integer(j.get<int64_t>());
    case nlohmann::json::value_t::number_unsigned: {
      const auto u = j.get<uint64_t>();
      if (u <= INT64_MAX) return Value::integer(static_cast<int64_t>(u));
      return Value::digits(static_cast<double>(u), env.str(std::to_string(u)).object());
    }
    case nlohmann::json::value_t::number_float:
      return Value::real(j.get<double>());
    case nlohmann::json::value_t::string:
      return env.str(j.get_ref<const std::string&>());
    case nlohmann::json::value_t::array: {
      std::vector<Value> v;
      v.reserve(j.size());
      for (const auto& x : j) v.push_back(from(env, x, depth + 1));
      return env.list(std::move(v));
    }
    case nlohmann::json::value_t::object: {
      auto d = std::make_shared<Dict>();
      d->v.reserve(j.size());
      for (auto it = j.begin(); it != j.end(); ++it)
        d->v.emplace_back(env.str(it.key()), from(env, it.value(), depth + 1));
      return env.dict(std::move(d));
    }
    default:
      return Value::none();
  }
}

class Writer {
 public:
  Writer(Env& env, bool ascii, bool sort) : env_(env), ascii_(ascii), sort_(sort) {}

  std::string item_sep = ", ", key_sep = ": ", indent;
  bool pretty = false;
  std::string out;

  void write(const Value& v, int level) {
    if (!env_.charge(1) || !grown()) return;
    switch (v.kind()) {
      case Kind::kStr:
        return string(v.s());
      case Kind::kList:
      case Kind::kTuple:
        return array(v.items(), level);
      case Kind::kDict:
        return object(v.as<Dict>(), level);
      default:
        if (!scalar(v)) env_.fail("Object of type " + std::string(type_name(v)) + " is not JSON serializable");
    }
  }

 private:
  bool grown() { return out.size() <= kMaxOutputBytes || env_.check_size(out.size()); }

  bool scalar(const Value& v) {
    switch (v.kind()) {
      case Kind::kNone:
        out += "null";
        return true;
      case Kind::kBool:
        out += v.b() ? "true" : "false";
        return true;
      case Kind::kInt:
        out += std::to_string(v.i());
        return true;
      case Kind::kFloat:
        if (std::isnan(v.f()))
          out += "NaN";
        else if (std::isinf(v.f()))
          out += v.f() < 0 ? "-Infinity" : "Infinity";
        else
          out += float_repr(v);
        return true;
      default:
        return false;
    }
  }

  void newline(int level) {
    if (!pretty) return;
    out += '\n';
    for (int i = 0; i < level; ++i) out += indent;
  }

  void array(const std::vector<Value>& v, int level) {
    if (v.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (size_t i = 0; i < v.size() && !env_.failed(); ++i) {
      if (i) out += item_sep;
      newline(level + 1);
      write(v[i], level + 1);
    }
    newline(level);
    out += ']';
  }

  void object(const Dict& d, int level) {
    if (d.v.empty()) {
      out += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& e : d.v) entries.push_back(&e);
    if (sort_)
      std::stable_sort(entries.begin(), entries.end(),
                       [&](auto* a, auto* b) { return less(env_, a->first, b->first); });
    out += '{';
    for (size_t i = 0; i < entries.size() && !env_.failed(); ++i) {
      if (i) out += item_sep;
      newline(level + 1);
      key(entries[i]->first);
      out += key_sep;
      write(entries[i]->second, level + 1);
    }
    newline(level);
    out += '}';
  }

  void key(const Value& k) {
    if (k.str()) return string(k.s());
    out += '"';
    if (!scalar(k)) env_.fail("keys must be str, int, float, bool or None, not " + std::string(type_name(k)));
    out += '"';
  }

  void escaped(uint32_t unit) {
    static const char* hex = "0123456789abcdef";
    out += "\\u";
    for (int d = 12; d >= 0; d -= 4) out += hex[(unit >> d) & 15];
  }

  void string(const std::string& s) {
    env_.charge_bytes(s.size());
    out += '"';
    for (size_t i = 0; i < s.size();) {
      const auto c = static_cast<unsigned char>(s[i]);
      if (c == '"' || c == '\\')
        (out += '\\') += s[i++];
      else if (c == '\n')
        out += "\\n", ++i;
      else if (c == '\r')
        out += "\\r", ++i;
      else if (c == '\t')
        out += "\\t", ++i;
      else if (c == '\b')
        out += "\\b", ++i;
      else if (c == '\f')
        out += "\\f", ++i;
      else if (c < 0x20)
        escaped(c), ++i;
      else if (c < 0x80 || !ascii_)
        out += s[i++];
      else
        non_ascii(next_code_point(s, i));
    }
    out += '"';
  }

  void non_ascii(uint32_t c) {
    if (c < 0x10000) return escaped(c);
    escaped(0xD800 + ((c - 0x10000) >> 10));
    escaped(0xDC00 + ((c - 0x10000) & 0x3FF));
  }

  Env& env_;
  bool ascii_, sort_;
};

bool set_indent(Env& env, const Value& v, Writer& w) {
  if (v.missing() || v.none_()) return true;
  w.pretty = true;
  w.item_sep = ",";
  if (v.str())
    w.indent = v.s();
  else if (v.integral() && v.i() <= 1000)
    w.indent.assign(static_cast<size_t>(std::max<int64_t>(v.i(), 0)), ' ');
  else
    env.fail("tojson: indent must be a number up to 1000 or a string");
  return !env.failed();
}

bool set_separators(Env& env, const Value& v, Writer& w) {
  if (v.missing() || v.none_()) return true;
  std::vector<Value> parts;
  if (!collect(env, v, parts)) return false;
  if (parts.size() != 2 || !parts[0].str() || !parts[1].str()) {
    env.fail("tojson: separators must be two strings");
    return false;
  }
  w.item_sep = parts[0].s();
  w.key_sep = parts[1].s();
  return true;
}

}  // namespace

Value from_json(Env& env, const nlohmann::ordered_json& j) { return from(env, j, 0); }

Value to_json(Env& env, const Value& self, const Args& args) {
  Value a[4];
  if (!bind(env, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, a)) return Value::none();
  Writer w(env, truthy(a[0]), truthy(a[3]));
  if (!set_indent(env, a[1], w) || !set_separators(env, a[2], w)) return Value::none();
  w.write(self, 0);
  return env.str(std::move(w.out));
}

}  // namespace xylem::jinja
