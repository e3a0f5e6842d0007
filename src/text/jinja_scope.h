// Which variable a name means: Jinja2's own rules (its idtracking), settled once when a template is parsed.
#pragma once
#include "base/result.h"
#include "text/jinja_ast.h"

namespace xylem::jinja {

// Gives every name its slot and every scope its initial values; binds filters and tests to their builtins.
Status resolve(Template& t);

}  // namespace xylem::jinja
