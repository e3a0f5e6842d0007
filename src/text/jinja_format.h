// Python's two ways of formatting text.
#pragma once
#include <string_view>

#include "text/jinja_env.h"

namespace xylem::jinja {

Value format_percent(Env& env, const Value& format, const Value& args);    // format % args
Value format_braces(Env& env, const Value& format, const Args& args);      // format.format(...)
std::string format_spec(Env& env, const Value& v, std::string_view spec);  // format(v, spec)

}  // namespace xylem::jinja
