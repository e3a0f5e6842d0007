#include "text/jinja_ops.h"

#include <cmath>
#include <limits>

#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_unicode.h"

namespace xylem::jinja {

namespace {

const char* op_name(Op op) {
  switch (op) {
    case Op::kAdd:
      return "+";
    case Op::kSub:
      return "-";
    case Op::kMul:
      return "*";
    case Op::kDiv:
      return "/";
    case Op::kFloorDiv:
      return "//";
    case Op::kMod:
      return "%";
    default:
      return "**";
  }
}

Value overflow(Env& env) { return env.fail("integer overflow: the result does not fit 64 bits"); }

Value unsupported(Env& env, Op op, const Value& a, const Value& b) {
  return env.fail(std::string("unsupported operand type(s) for ") + op_name(op) + ": " + str_repr(type_name(a)) +
                  " and " + str_repr(type_name(b)));
}

int64_t floor_div(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return q - ((a % b != 0) && ((a < 0) != (b < 0)));
}

double float_mod(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

double float_floor_div(double a, double b) {
  const double mod = float_mod(a, b);
  const double div = (a - mod) / b;
  const double floor = std::floor(div);
  return div - floor > 0.5 ? floor + 1 : floor;
}

Value int_power(Env& env, int64_t a, int64_t b) {
  if (b < 0)
    return a == 0 ? env.fail("0.0 cannot be raised to a negative power")
                  : Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
  int64_t r = 1;
  for (; b > 0; b >>= 1) {
    if ((b & 1) && __builtin_mul_overflow(r, a, &r)) return overflow(env);
    if (b > 1 && __builtin_mul_overflow(a, a, &a)) return overflow(env);
  }
  return Value::integer(r);
}

Value int_arithmetic(Env& env, Op op, int64_t a, int64_t b) {
  int64_t r = 0;
  bool over = false;
  switch (op) {
    case Op::kAdd:
      over = __builtin_add_overflow(a, b, &r);
      break;
    case Op::kSub:
      over = __builtin_sub_overflow(a, b, &r);
      break;
    case Op::kMul:
      over = __builtin_mul_overflow(a, b, &r);
      break;
    case Op::kPow:
      return int_power(env, a, b);
    case Op::kDiv:
      if (b == 0) return env.fail("division by zero");
      return Value::real(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    default:
      if (b == 0) return env.fail("integer division or modulo by zero");
      if (b == -1) {  // the one quotient that may overflow
        if (op == Op::kMod) return Value::integer(0);
        over = __builtin_sub_overflow(int64_t{0}, a, &r);
      } else {
        r = op == Op::kFloorDiv ? floor_div(a, b) : a - floor_div(a, b) * b;
      }
  }
  return over ? overflow(env) : Value::integer(r);
}

Value float_arithmetic(Env& env, Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Value::real(a + b);
    case Op::kSub:
      return Value::real(a - b);
    case Op::kMul:
      return Value::real(a * b);
    case Op::kPow: {
      if (a == 0 && b < 0) return env.fail("0.0 cannot be raised to a negative power");
      const double r = std::pow(a, b);
      if (std::isnan(r) && !std::isnan(a) && !std::isnan(b)) return env.fail("complex numbers are not supported");
      if (std::isinf(r) && !std::isinf(a) && !std::isinf(b)) return env.fail("the result of ** is too large");
      return Value::real(r);
    }
    default:
      break;
  }
  if (b == 0) return env.fail(op == Op::kMod ? "float modulo" : "float division by zero");
  if (op == Op::kDiv) return Value::real(a / b);
  return Value::real(op == Op::kMod ? float_mod(a, b) : float_floor_div(a, b));
}

Value repeat(Env& env, const Value& x, int64_t n) {
  if (n < 0) n = 0;
  const size_t size = x.str() ? x.s().size() : x.items().size() * sizeof(Value);
  if (size && static_cast<uint64_t>(n) > kMaxOutputBytes / size) {
    env.check_size(kMaxOutputBytes + 1);
    return Value::none();
  }
  if (!env.check_size(size * static_cast<size_t>(n))) return Value::none();
  if (x.str()) {
    std::string s;
    s.reserve(size * static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) s += x.s();
    return env.str(std::move(s), x.as<Str>().safe);
  }
  std::vector<Value> v;
  v.reserve(x.items().size() * static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) v.insert(v.end(), x.items().begin(), x.items().end());
  return x.is(Kind::kList) ? env.list(std::move(v)) : env.tuple(std::move(v));
}

Value join_seqs(Env& env, const Value& a, const Value& b) {
  std::vector<Value> v;
  if (!env.check_size((a.items().size() + b.items().size()) * sizeof(Value))) return a;
  v.reserve(a.items().size() + b.items().size());
  v = a.items();
  v.insert(v.end(), b.items().begin(), b.items().end());
  return a.is(Kind::kList) ? env.list(std::move(v)) : env.tuple(std::move(v));
}

Value add_error(Env& env, const Value& a, const Value& b) {
  if (!a.str() && !a.seq()) return unsupported(env, Op::kAdd, a, b);
  const std::string mine = a.str() ? "str" : type_name(a);
  return env.fail("can only concatenate " + mine + " (not \"" + type_name(b) + "\") to " + mine);
}

}  // namespace

std::string escape_html(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (char c : s) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value concat(Env& env, const Value& a, const Value& b) {
  const bool safe_a = a.as<Str>().safe, safe_b = b.as<Str>().safe;
  if (safe_a == safe_b) {
    std::string s;
    s.reserve(a.s().size() + b.s().size());
    s += a.s();
    s += b.s();
    return env.str(std::move(s), safe_a);
  }
  return env.str(safe_a ? a.s() + escape_html(b.s()) : escape_html(a.s()) + b.s(), true);
}

Value arithmetic(Env& env, Op op, const Value& a, const Value& b) {
  if (a.str() && b.str() && op == Op::kAdd) return concat(env, a, b);
  if (op == Op::kMod && a.str()) return format_percent(env, a, b);
  if (a.integral() && b.integral()) return int_arithmetic(env, op, a.i(), b.i());
  if (a.number() && b.number()) return float_arithmetic(env, op, a.f(), b.f());
  if (a.undefined() || b.undefined()) return env.fail(undefined_text(a.undefined() ? a : b));
  if (op == Op::kMul) {
    if ((a.str() || a.seq()) && b.integral()) return repeat(env, a, b.i());
    if ((b.str() || b.seq()) && a.integral()) return repeat(env, b, a.i());
  }
  if (op != Op::kAdd) return unsupported(env, op, a, b);
  if (a.seq() && a.kind() == b.kind()) return join_seqs(env, a, b);
  return add_error(env, a, b);
}

Value negate(Env& env, Op op, const Value& a) {
  if (a.undefined()) return env.fail(undefined_text(a));
  if (!a.number())
    return env.fail(std::string("bad operand type for unary ") + (op == Op::kNeg ? "-" : "+") + ": " +
                    str_repr(type_name(a)));
  if (a.is(Kind::kFloat)) return Value::real(op == Op::kNeg ? -a.f() : a.f());
  if (op == Op::kPos) return Value::integer(a.i());
  return a.i() == std::numeric_limits<int64_t>::min() ? overflow(env) : Value::integer(-a.i());
}

namespace {

template <class T>
bool ordered(Cmp op, const T& a, const T& b) {
  switch (op) {
    case Cmp::kLt:
      return a < b;
    case Cmp::kLe:
      return a <= b;
    case Cmp::kGt:
      return a > b;
    default:
      return a >= b;
  }
}

bool order(Env& env, Cmp op, const Value& a, const Value& b) {
  if (!env.charge(1)) return false;
  if (a.integral() && b.integral()) return ordered(op, a.i(), b.i());
  if (a.number() && b.number()) {
    auto wide = [](const Value& v) { return v.integral() ? static_cast<long double>(v.i()) : v.f(); };
    return ordered(op, wide(a), wide(b));
  }
  env.charge(std::min(a.weight(), b.weight()) / 16);
  // Bytes of UTF-8 order as their characters do.
  if (a.str() && b.str()) return ordered(op, a.s().compare(b.s()), 0);
  if (a.seq() && a.kind() == b.kind()) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(env, x[i], y[i])) return order(env, op, x[i], y[i]);
    return ordered(op, x.size(), y.size());
  }
  if (a.undefined() || b.undefined()) {
    env.fail(undefined_text(a.undefined() ? a : b));
    return false;
  }
  const char* names[] = {"<", "<=", ">", ">="};
  env.fail(str_repr(names[static_cast<int>(op) - static_cast<int>(Cmp::kLt)]) + " not supported between instances of " +
           str_repr(type_name(a)) + " and " + str_repr(type_name(b)));
  return false;
}

}  // namespace

bool compare(Env& env, Cmp op, const Value& a, const Value& b) {
  switch (op) {
    case Cmp::kEq:
      return equal(env, a, b);
    case Cmp::kNe:
      return !equal(env, a, b);
    case Cmp::kIn:
      return contains(env, b, a);
    case Cmp::kNotIn:
      return !contains(env, b, a);
    default:
      return order(env, op, a, b);
  }
}

bool less(Env& env, const Value& a, const Value& b) { return order(env, Cmp::kLt, a, b); }

namespace {

bool in_string(Env& env, const Value& container, const Value& x) {
  if (!x.str()) {
    env.fail("'in <string>' requires string as left operand, not " + std::string(type_name(x)));
    return false;
  }
  return env.charge_bytes(container.s().size()) && find_text(container.s(), x.s()) != std::string::npos;
}

bool in_dict(Env& env, const Dict& d, const Value& x) { return check_hashable(env, x) && d.find(x) != nullptr; }

}  // namespace

bool contains(Env& env, const Value& container, const Value& x) {
  if (container.str()) return in_string(env, container, x);
  if (container.dict()) return in_dict(env, container.as<Dict>(), x);
  if (container.seq()) {
    for (const auto& item : container.items())
      if (!env.charge(1) || equal(env, item, x)) return !env.failed();
    return false;
  }
  if (!iterable(container)) {
    env.fail("argument of type " + str_repr(type_name(container)) + " is not iterable");
    return false;
  }
  Cursor c(env, container);
  for (Value v; c.next(env, v);)
    if (equal(env, v, x)) return true;
  return false;
}

namespace {

// A Python attribute of an object, missing when it has none of that name.
Value python_attr(Env& env, const Value& object, const Value& name) {
  const std::string& n = name.s();
  if (object.is(Kind::kNamespace)) {
    const Value* v = object.as<Dict>().find(n);
    return v ? *v : Value();
  }
  if (const Builtin* m = find_method(object, n)) return env.func(*m, object);
  if (is_forbidden_method(object, n) || (n.starts_with("__") && n.ends_with("__") && n.size() > 4))
    return env.undefined("access to attribute " + str_repr(n) + " of " + str_repr(type_name(object)) +
                         " object is unsafe.");
  if (object.is(Kind::kCycler) && n == "current") {
    const auto& c = object.as<Cycler>();
    return c.v[c.pos];
  }
  if (object.is(Kind::kTuple) && object.items().size() == 2 && object.as<Seq>().named_group) {
    if (n == "grouper") return object.items()[0];
    if (n == "list") return object.items()[1];
  }
  return Value();
}

int64_t normalized(int64_t i, int64_t n) { return i < 0 ? i + n : i; }

// object[key] as Python has it, missing when there is no such item.
Value python_item(Env& env, const Value& object, const Value& key) {
  if (object.dict()) {
    if (!env.charge(key.weight() / 16) || !hashable(key)) return Value();
    const Value* v = object.as<Dict>().find(key);
    return v ? *v : Value();
  }
  if (!key.integral()) return Value();
  if (object.seq()) {
    const auto& v = object.items();
    const int64_t i = normalized(key.i(), static_cast<int64_t>(v.size()));
    return i >= 0 && i < static_cast<int64_t>(v.size()) ? v[static_cast<size_t>(i)] : Value();
  }
  if (object.str()) {
    const auto& s = object.as<Str>();
    const int64_t n = char_count(object), i = normalized(key.i(), n);
    if (i < 0 || i >= n) return Value();
    if (s.ascii) return env.str(std::string(1, s.s[static_cast<size_t>(i)]), s.safe);
    env.charge_bytes(s.s.size());
    const size_t begin = offset_of(s.s, i);
    size_t end = begin;
    next_code_point(s.s, end);
    return env.str(s.s.substr(begin, end - begin), s.safe);
  }
  if (object.is(Kind::kRange)) {
    const auto& r = object.as<Range>();
    const int64_t i = normalized(key.i(), r.length);
    return i >= 0 && i < r.length ? Value::integer(r.start + r.step * i) : Value();
  }
  return Value();
}

}  // namespace

Value get_attr(Env& env, const Value& object, const Value& name) {
  if (object.undefined()) return env.fail(undefined_text(object));
  Value v = python_attr(env, object, name);
  if (v.missing()) v = python_item(env, object, name);
  return v.missing() ? env.undefined_item(object, name) : v;
}

Value get_item(Env& env, const Value& object, const Value& key) {
  if (object.undefined()) return env.fail(undefined_text(object));
  Value v = python_item(env, object, key);
  if (v.missing() && key.str()) v = python_attr(env, object, key);
  return v.missing() ? env.undefined_item(object, key) : v;
}

namespace {

bool slice_index(Env& env, const Value& v, int64_t& out) {
  if (v.missing() || v.none_()) return true;
  if (!v.integral()) {
    env.fail(v.undefined() ? undefined_text(v) : "slice indices must be integers or None");
    return false;
  }
  out = v.i();
  return true;
}

// Positions first, first + step ... of n items, as Python's slice.indices.
std::vector<size_t> slice_positions(int64_t n, bool has_start, int64_t start, bool has_stop, int64_t stop, int64_t step,
                                    int64_t& first) {
  auto clamp = [&](int64_t i) {
    if (i < 0)
      i = i < -n ? -1 : i + n;
    else if (i > n)
      i = n;
    return step < 0 && i >= n ? n - 1 : step > 0 && i < 0 ? 0 : i;
  };
  start = has_start ? clamp(start) : step > 0 ? 0 : n - 1;
  stop = has_stop ? clamp(stop) : step > 0 ? n : -1;
  first = start;
  std::vector<size_t> out;
  while (step > 0 ? start < stop : start > stop) {
    out.push_back(static_cast<size_t>(start));
    if (__builtin_add_overflow(start, step, &start)) break;
  }
  return out;
}

Value slice_string(Env& env, const Value& object, const std::vector<size_t>& at, int64_t step) {
  const auto& s = object.as<Str>();
  std::string out;
  if (s.ascii && step == 1) {
    if (!at.empty()) out = s.s.substr(at.front(), at.size());
  } else if (s.ascii) {
    for (size_t i : at) out += s.s[i];
  } else {
    std::vector<size_t> offsets;
    for (size_t i = 0; i < s.s.size(); next_code_point(s.s, i)) offsets.push_back(i);
    offsets.push_back(s.s.size());
    for (size_t i : at) out.append(s.s, offsets[i], offsets[i + 1] - offsets[i]);
  }
  return env.str(std::move(out), s.safe);
}

Value slice_range(Env& env, const Range& r, int64_t first, int64_t step, size_t length) {
  auto out = std::make_shared<Range>();
  out->start = r.start + first * r.step;
  if (__builtin_mul_overflow(step, r.step, &out->step)) return overflow(env);
  out->length = static_cast<int64_t>(length);
  return env.object(Kind::kRange, std::move(out), {}, sizeof(Range));
}

}  // namespace

Value slice(Env& env, const Value& object, const Value& start_v, const Value& stop_v, const Value& step_v) {
  if (object.undefined()) return env.fail(undefined_text(object));
  if (!object.str() && !object.seq() && !object.is(Kind::kRange))
    return env.fail(str_repr(type_name(object)) + " object cannot be sliced");
  int64_t start = 0, stop = 0, step = 1;
  if (!slice_index(env, start_v, start) || !slice_index(env, stop_v, stop) || !slice_index(env, step_v, step))
    return Value::none();
  if (step == 0) return env.fail("slice step cannot be zero");
  auto given = [](const Value& v) { return !v.missing() && !v.none_(); };
  const int64_t n = length_of(env, object);
  if (!env.charge(static_cast<uint64_t>(n) / 16 + 1)) return Value::none();
  int64_t first = 0;
  const auto at = slice_positions(n, given(start_v), start, given(stop_v), stop, step, first);
  if (object.str()) return slice_string(env, object, at, step);
  if (object.is(Kind::kRange)) return slice_range(env, object.as<Range>(), first, step, at.size());
  std::vector<Value> v;
  v.reserve(at.size());
  for (size_t i : at) v.push_back(object.items()[i]);
  return object.is(Kind::kList) ? env.list(std::move(v)) : env.tuple(std::move(v));
}

}  // namespace xylem::jinja
