// Functions a template finds without being given them.
#include <algorithm>
#include <ctime>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace xylem::jinja {

namespace {

Value g_range(Env& env, const Value&, const Args& a) {
  Value v[3];
  if (!bind(env, "range", a, {"", "", ""}, 1, v)) return Value::none();
  for (const auto& x : v)
    if (!x.missing() && !x.integral())
      return env.fail(x.undefined() ? undefined_text(x)
                                    : str_repr(type_name(x)) + " object cannot be interpreted as an integer");
  const int64_t start = v[1].missing() ? 0 : v[0].i(), stop = v[1].missing() ? v[0].i() : v[1].i();
  const int64_t step = v[2].missing() ? 1 : v[2].i();
  if (step == 0) return env.fail("range() arg 3 must not be zero");
  const __int128 distance = static_cast<__int128>(stop) - start;
  const __int128 length =
      step > 0 ? (distance + step - 1) / step : (-distance - step - 1) / -static_cast<__int128>(step);
  if (length > kMaxRange)
    return env.fail("Range too big. The sandbox blocks ranges larger than " + std::to_string(kMaxRange) + ".");
  auto r = std::make_shared<Range>();
  r->start = start;
  r->step = step;
  r->length = std::max<int64_t>(static_cast<int64_t>(length), 0);
  if ((distance > 0) != (step > 0)) r->length = 0;
  return env.object(Kind::kRange, std::move(r), {}, sizeof(Range));
}

// dict(...) as Python: a mapping or pairs, then keywords.
std::shared_ptr<Dict> dict_from(Env& env, const Args& a) {
  auto d = std::make_shared<Dict>();
  if (a.pos.size() > 1) env.fail("dict expected at most 1 argument, got " + std::to_string(a.pos.size()));
  if (!a.pos.empty() && a.pos[0].dict()) {
    d->v = a.pos[0].as<Dict>().v;
  } else if (!a.pos.empty()) {
    Cursor c(env, a.pos[0]);
    for (Value x; c.next(env, x) && !env.failed();) {
      std::vector<Value> pair;
      if (!collect(env, x, pair)) break;
      if (pair.size() != 2)
        env.fail("dictionary update sequence element has length " + std::to_string(pair.size()) + "; 2 is required");
      else if (check_hashable(env, pair[0]))
        d->set(pair[0], pair[1]);
    }
  }
  for (const auto& [k, v] : a.kw) d->set(env.str(k), v);
  return d;
}

Value g_dict(Env& env, const Value&, const Args& a) { return env.dict(dict_from(env, a)); }

Value g_namespace(Env& env, const Value&, const Args& a) {
  auto d = dict_from(env, a);
  // May come to hold itself; counted as one level, its contents each by themselves.
  env.keep(d);
  return env.object(Kind::kNamespace, std::move(d), {}, 1024);
}

Value g_cycler(Env& env, const Value&, const Args& a) {
  if (a.pos.empty() || !a.kw.empty()) return env.fail("cycler() wants at least one item");
  auto c = std::make_shared<Cycler>();
  c->v = a.pos;
  const Extent below = extent_of(c->v);
  return env.object(Kind::kCycler, std::move(c), below, sizeof(Cycler));
}

Value g_joiner(Env& env, const Value&, const Args& a) {
  Value sep;
  if (!bind(env, "joiner", a, {"sep"}, 0, &sep)) return sep;
  auto j = std::make_shared<Joiner>();
  j->sep = sep.missing() ? env.str(", ") : sep;
  const Extent below = extent_of({j->sep});
  return env.object(Kind::kJoiner, std::move(j), below, sizeof(Joiner));
}

Value g_raise(Env& env, const Value&, const Args& a) {
  Value message;
  if (!bind(env, "raise_exception", a, {"message"}, 1, &message)) return message;
  return env.raise(to_str(env, message));
}

// What Python's datetime replaces itself, for a clock without a zone.
std::string python_directives(const std::string& f) {
  std::string out;
  for (size_t i = 0; i < f.size(); ++i) {
    const char next = f[i] == '%' && i + 1 < f.size() ? f[i + 1] : 0;
    if (next == 'f')
      out += "000000";
    else if (next && next != 'z' && next != 'Z')
      (out += '%') += next;
    else if (!next)
      out += f[i];
    i += next != 0;
  }
  return out;
}

Value g_strftime(Env& env, const Value&, const Args& a) {
  Value format;
  if (!bind(env, "strftime_now", a, {"format"}, 1, &format)) return format;
  if (!format.str()) return env.fail("strftime_now() wants a string, not " + std::string(type_name(format)));
  if (format.s().size() > 4096) return env.fail("strftime_now() takes at most 4096 characters");
  // A mark in front tells an empty result from a full buffer.
  const std::string f = "x" + python_directives(format.s());
  std::string buf(f.size() * 128 + 128, '\0');
  const size_t n = std::strftime(buf.data(), buf.size(), f.c_str(), &env.now());
  if (n == 0) return env.fail("strftime_now() cannot format " + str_repr(format.s()));
  return env.str(buf.substr(1, n - 1));
}

constexpr Builtin kGlobals[] = {
    {"range", g_range},           {"dict", g_dict},     {"namespace", g_namespace},
    {"cycler", g_cycler},         {"joiner", g_joiner}, {"raise_exception", g_raise},
    {"strftime_now", g_strftime},
};

}  // namespace

const Builtin* find_global(std::string_view name) {
  for (const auto& g : kGlobals)
    if (g.name == name) return &g;
  return nullptr;
}

}  // namespace xylem::jinja
