// Jinja2's tests: what follows `is`.
#include <iterator>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace xylem::jinja {

namespace {

bool none_given(Env& env, const Args& a) { return bind(env, "this test", a, {}, 0, nullptr); }

template <Kind K>
Value is_kind(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(v.is(K));
}

Value is_defined(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(!v.undefined());
}

template <bool B>
Value is_bool(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(v.is(Kind::kBool) && v.b() == B);
}

Value is_number(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(v.number());
}

Value is_sequence(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(v.str() || v.seq() || v.dict() || v.is(Kind::kRange) || v.undefined());
}

Value is_iterable(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(iterable(v) || v.is(Kind::kLoop));
}

Value is_callable(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  switch (v.kind()) {
    case Kind::kUndefined:
    case Kind::kMacro:
    case Kind::kFunc:
    case Kind::kLoop:
    case Kind::kJoiner:
      return Value::boolean(true);
    default:
      return Value::boolean(false);
  }
}

Value is_escaped(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(v.str() && v.as<Str>().safe);
}

template <bool Upper>
Value is_case(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(all_cased(to_str(env, v), Upper));
}

template <int Remainder>
Value is_parity(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  const Value r = arithmetic(env, Op::kMod, v, Value::integer(2));
  return Value::boolean(equal(r, Value::integer(Remainder)));
}

Value is_divisible(Env& env, const Value& v, const Args& a) {
  Value by;
  if (!bind(env, "divisibleby", a, {"num"}, 1, &by)) return v;
  return Value::boolean(equal(arithmetic(env, Op::kMod, v, by), Value::integer(0)));
}

template <Cmp C>
Value is_compared(Env& env, const Value& v, const Args& a) {
  Value other;
  if (!bind(env, "this test", a, {"seq"}, 1, &other)) return v;
  return Value::boolean(compare(env, C, v, other));
}

Value is_same(Env& env, const Value& v, const Args& a) {
  Value other;
  if (!bind(env, "sameas", a, {"other"}, 1, &other)) return v;
  return Value::boolean(same(v, other));
}

template <bool Filter>
Value is_known(Env& env, const Value& v, const Args& a) {
  none_given(env, a);
  return Value::boolean(v.str() && (Filter ? find_filter(v.s()) : find_test(v.s())));
}

constexpr Builtin kTests[] = {
    {"defined", is_defined},
    {"undefined", is_kind<Kind::kUndefined>},
    {"none", is_kind<Kind::kNone>},
    {"string", is_kind<Kind::kStr>},
    {"mapping", is_kind<Kind::kDict>},
    {"boolean", is_kind<Kind::kBool>},
    {"integer", is_kind<Kind::kInt>},
    {"float", is_kind<Kind::kFloat>},
    {"number", is_number},
    {"true", is_bool<true>},
    {"false", is_bool<false>},
    {"sequence", is_sequence},
    {"iterable", is_iterable},
    {"callable", is_callable},
    {"escaped", is_escaped},
    {"odd", is_parity<1>},
    {"even", is_parity<0>},
    {"divisibleby", is_divisible},
    {"lower", is_case<false>},
    {"upper", is_case<true>},
    {"sameas", is_same},
    {"in", is_compared<Cmp::kIn>},
    {"==", is_compared<Cmp::kEq>},
    {"eq", is_compared<Cmp::kEq>},
    {"equalto", is_compared<Cmp::kEq>},
    {"!=", is_compared<Cmp::kNe>},
    {"ne", is_compared<Cmp::kNe>},
    {"<", is_compared<Cmp::kLt>},
    {"lt", is_compared<Cmp::kLt>},
    {"lessthan", is_compared<Cmp::kLt>},
    {"<=", is_compared<Cmp::kLe>},
    {"le", is_compared<Cmp::kLe>},
    {">", is_compared<Cmp::kGt>},
    {"gt", is_compared<Cmp::kGt>},
    {"greaterthan", is_compared<Cmp::kGt>},
    {">=", is_compared<Cmp::kGe>},
    {"ge", is_compared<Cmp::kGe>},
    {"filter", is_known<true>},
    {"test", is_known<false>},
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  for (const auto& t : kTests)
    if (t.name == name) return &t;
  return nullptr;
}

}  // namespace xylem::jinja
