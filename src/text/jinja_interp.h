// Renders a parsed template.
#pragma once
#include <ctime>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "text/jinja_ast.h"

namespace xylem::jinja {

Result<std::string> render(const Template& t, const nlohmann::ordered_json& vars, std::tm now);

}  // namespace xylem::jinja
