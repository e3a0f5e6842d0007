#pragma once
#include <memory>
#include <string>

#include "base/result.h"
#include "text/jinja_ast.h"

namespace xylem::jinja {

// Parses and resolves a template. Errors name the line.
Result<std::shared_ptr<const Template>> parse_template(const std::string& source);

}  // namespace xylem::jinja
