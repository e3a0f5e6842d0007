// Python's operators on values, and Jinja's attribute and item access as its immutable sandbox has it.
#pragma once
#include "text/jinja_ast.h"
#include "text/jinja_env.h"

namespace xylem::jinja {

Value arithmetic(Env& env, Op op, const Value& a, const Value& b);
Value negate(Env& env, Op op, const Value& a);  // kNeg, kPos
bool compare(Env& env, Cmp op, const Value& a, const Value& b);
bool less(Env& env, const Value& a, const Value& b);  // a < b
bool contains(Env& env, const Value& container, const Value& x);
Value concat(Env& env, const Value& a, const Value& b);  // str + str, respecting what is marked safe

Value get_attr(Env& env, const Value& object, const Value& name);  // object.name; name is a string
Value get_item(Env& env, const Value& object, const Value& key);   // object[key]
Value slice(Env& env, const Value& object, const Value& start, const Value& stop, const Value& step);

std::string escape_html(std::string_view s);

}  // namespace xylem::jinja
