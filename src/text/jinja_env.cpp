#include "text/jinja_env.h"

#include <algorithm>

#include "text/jinja_unicode.h"

namespace xylem::jinja {

Env::~Env() {
  for (auto& o : kept_) o->clear();
}

Value Env::fail(std::string text) {
  if (!failed_) error_ = "chat template, line " + std::to_string(line_) + ": " + std::move(text);
  failed_ = true;
  return Value(Kind::kUndefined, std::make_shared<Undefined>());
}

Value Env::raise(std::string text) {
  if (!failed_) error_ = std::move(text);
  failed_ = true;
  return Value(Kind::kUndefined, std::make_shared<Undefined>());
}

bool Env::charge(uint64_t steps) {
  steps_ += steps;
  if (steps_ <= kMaxSteps) return !failed_;
  fail("rendering takes more than " + std::to_string(kMaxSteps) + " steps; shorten the conversation or the template");
  return false;
}

bool Env::check_size(size_t bytes) {
  if (bytes <= kMaxOutputBytes) return charge_bytes(bytes);
  fail("a text grows beyond " + std::to_string(kMaxOutputBytes >> 20) + " MiB");
  return false;
}

Value Env::track(Kind kind, std::shared_ptr<Obj> o, const Extent& below, size_t bytes) {
  if (below.depth >= kMaxNesting) return fail("values nest deeper than " + std::to_string(kMaxNesting) + " levels");
  if (memory_.bytes + bytes > kMaxLiveBytes)
    return fail("rendering needs more than " + std::to_string(kMaxLiveBytes >> 20) + " MiB of memory");
  o->memory = &memory_;
  o->bytes = bytes;
  o->depth = below.depth + 1;
  o->weight = below.weight;
  memory_.bytes += bytes;
  return Value(kind, std::move(o));
}

Value Env::str(std::string s, bool safe) {
  if (!check_size(s.size())) return Value(Kind::kUndefined, std::make_shared<Undefined>());
  auto o = std::make_shared<Str>();
  o->s = std::move(s);
  o->ascii = is_ascii(o->s);
  o->safe = safe;
  const size_t bytes = sizeof(Str) + o->s.capacity();
  const Extent below{0, 1 + o->s.size() / 16};
  return track(Kind::kStr, std::move(o), below, bytes);
}

Extent extent_of(const std::vector<Value>& v) {
  Extent e;
  for (const auto& x : v) e.add(x);
  return e;
}

Value Env::seq(Kind kind, std::vector<Value> v) {
  auto o = std::make_shared<Seq>();
  o->v = std::move(v);
  charge(o->v.size());
  const Extent below = extent_of(o->v);
  const size_t bytes = sizeof(Seq) + o->v.capacity() * sizeof(Value);
  return track(kind, std::move(o), below, bytes);
}

Value Env::iter(std::vector<Value> v) {
  auto o = std::make_shared<Iter>();
  o->v = std::move(v);
  charge(o->v.size());
  const Extent below = extent_of(o->v);
  const size_t bytes = sizeof(Iter) + o->v.capacity() * sizeof(Value);
  return track(Kind::kIter, std::move(o), below, bytes);
}

Value Env::dict(std::shared_ptr<Dict> d, Kind kind) {
  Extent below;
  for (const auto& [k, v] : d->v) {
    below.add(k);
    below.add(v);
  }
  charge(d->v.size());
  const size_t bytes = sizeof(Dict) + d->v.capacity() * 2 * sizeof(Value);
  return track(kind, std::move(d), below, bytes);
}

Value Env::undefined(std::string hint) {
  auto o = std::make_shared<Undefined>();
  o->hint = std::move(hint);
  return Value(Kind::kUndefined, std::move(o));
}

Value Env::undefined_name(std::string_view name) {
  auto o = std::make_shared<Undefined>();
  o->name = name;
  return Value(Kind::kUndefined, std::move(o));
}

Value Env::undefined_item(const Value& object, const Value& name) {
  auto o = std::make_shared<Undefined>();
  o->type = jinja_type_name(object);
  o->name_is_str = name.str();
  o->name = name.str() ? name.s() : name.depth() < 2 ? repr(name) : type_name(name);
  return Value(Kind::kUndefined, std::move(o));
}

Value Env::func(const Builtin& builtin, const Value& self) {
  auto o = std::make_shared<Func>();
  o->builtin = &builtin;
  o->self = self;
  return track(Kind::kFunc, std::move(o), {self.depth(), self.weight()}, sizeof(Func));
}

bool bind(Env& env, std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
          size_t required, Value* out) {
  const std::string call = std::string(function) + "()";
  if (args.pos.size() > names.size()) {
    env.fail(call + " takes at most " + std::to_string(names.size()) + " arguments (" +
             std::to_string(args.pos.size()) + " given)");
    return false;
  }
  std::copy(args.pos.begin(), args.pos.end(), out);
  for (const auto& [name, value] : args.kw) {
    const size_t i = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (i == names.size() || !out[i].missing()) {
      env.fail(call + (i == names.size() ? " got an unexpected keyword argument " : " got several values for ") +
               str_repr(name));
      return false;
    }
    out[i] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!out[i].missing()) continue;
    env.fail(call + " misses argument " + std::to_string(i + 1));
    return false;
  }
  return true;
}

bool equal(Env& env, const Value& a, const Value& b) {
  return env.charge(std::min(a.weight(), b.weight()) / 16) && equal(a, b);
}

bool check_hashable(Env& env, const Value& key) {
  if (!env.charge(key.weight() / 16)) return false;
  if (!hashable(key)) env.fail("unhashable type: " + str_repr(type_name(key)));
  return !env.failed();
}

bool iterable(const Value& v) {
  switch (v.kind()) {
    case Kind::kUndefined:
    case Kind::kStr:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kIter:
    case Kind::kView:
      return true;
    default:
      return false;
  }
}

Cursor::Cursor(Env& env, Value v) : v_(std::move(v)) {
  if (!iterable(v_)) env.fail(str_repr(type_name(v_)) + " object is not iterable");
}

int64_t Cursor::length() const {
  switch (v_.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kStr:
      return char_count(v_);
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<int64_t>(v_.items().size());
    case Kind::kDict:
      return static_cast<int64_t>(v_.as<Dict>().v.size());
    case Kind::kRange:
      return v_.as<Range>().length;
    case Kind::kView:
      return static_cast<int64_t>(v_.as<View>().dict.as<Dict>().v.size());
    default:
      return -1;
  }
}

namespace {

bool next_char(Env& env, const Value& str, size_t& pos, Value& out) {
  const std::string& s = str.s();
  if (pos >= s.size()) return false;
  const size_t begin = pos;
  next_code_point(s, pos);
  out = env.str(s.substr(begin, pos - begin));
  return true;
}

bool next_entry(Env& env, const Dict& d, View::What what, size_t& pos, Value& out) {
  if (pos >= d.v.size()) return false;
  const auto& [k, v] = d.v[pos++];
  out = what == View::kKeys ? k : what == View::kValues ? v : env.tuple({k, v});
  return true;
}

}  // namespace

bool Cursor::next(Env& env, Value& out) {
  if (!env.charge(1)) return false;
  switch (v_.kind()) {
    case Kind::kStr:
      return next_char(env, v_, pos_, out);
    case Kind::kList:
    case Kind::kTuple:
      if (pos_ >= v_.items().size()) return false;
      out = v_.items()[pos_++];
      return true;
    case Kind::kDict:
      return next_entry(env, v_.as<Dict>(), View::kKeys, pos_, out);
    case Kind::kView:
      return next_entry(env, v_.as<View>().dict.as<Dict>(), v_.as<View>().what, pos_, out);
    case Kind::kRange: {
      const auto& r = v_.as<Range>();
      if (static_cast<int64_t>(pos_) >= r.length) return false;
      out = Value::integer(r.start + r.step * static_cast<int64_t>(pos_++));
      return true;
    }
    case Kind::kIter: {
      auto& it = v_.as<Iter>();
      if (it.pos >= it.v.size()) return false;
      out = it.v[it.pos++];
      return true;
    }
    default:
      return false;
  }
}

bool collect(Env& env, const Value& v, std::vector<Value>& out) {
  if (v.seq()) {
    out = v.items();
    return env.charge(out.size());
  }
  Cursor c(env, v);
  for (Value x; c.next(env, x);) out.push_back(std::move(x));
  return !env.failed();
}

int64_t char_count(const Value& str) {
  const auto& s = str.as<Str>();
  return s.ascii ? static_cast<int64_t>(s.s.size()) : count_code_points(s.s);
}

int64_t length_of(Env& env, const Value& v) {
  const int64_t n = iterable(v) && !v.is(Kind::kIter) ? Cursor(env, v).length() : -1;
  if (n < 0) env.fail("object of type " + str_repr(type_name(v)) + " has no len()");
  return n;
}

std::string to_str(Env& env, const Value& v) {
  std::string s;
  const bool printed = append_str(v, s);
  if (env.check_size(s.size()) && !printed) env.fail("a value that contains itself cannot be printed");
  return s;
}

}  // namespace xylem::jinja
