// JSON in and out of values.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "text/jinja_env.h"

namespace xylem::jinja {

Value from_json(Env& env, const nlohmann::ordered_json& j);
// The filter tojson of transformers: json.dumps(x, ensure_ascii=False, indent, separators, sort_keys).
Value to_json(Env& env, const Value& self, const Args& args);

}  // namespace xylem::jinja
