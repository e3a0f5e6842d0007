// The builtins by name.
#pragma once
#include <string_view>

#include "text/jinja_env.h"

namespace xylem::jinja {

// Null: no such name. The first argument of a filter or a test is `self`.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_global(std::string_view name);
const Builtin* find_method(const Value& object, std::string_view name);
// A method Python has but the sandbox forbids, because it changes the object.
bool is_forbidden_method(const Value& object, std::string_view name);
// A filter of Jinja2 that is left out here.
bool is_omitted_filter(std::string_view name);

// What filters and methods share.
Value replace_all(Env& env, const Value& str, std::string_view from, std::string_view to, int64_t count);  // -1: all
bool all_cased(std::string_view s, bool upper_case);  // isupper, islower
Value center(Env& env, const Value& str, int64_t width);

}  // namespace xylem::jinja
