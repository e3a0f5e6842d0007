#include "server/json_body.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace xylem {
namespace {

// One pass over the structure, before the parser allocates. It only counts: the parser judges the syntax.
Status check_limits(std::string_view text, const JsonLimits& limits) {
  std::vector<int> members;  // of each open object or array: colons seen
  int values = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
      continue;
    }
    if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      members.push_back(0);
      ++values;
      if (static_cast<int>(members.size()) > limits.depth)
        return invalid(fmt::format("The JSON body is nested more than {} levels deep.", limits.depth));
    } else if (c == '}' || c == ']') {
      if (!members.empty()) members.pop_back();
    } else if (c == ',') {
      ++values;
    } else if (c == ':' && !members.empty() && ++members.back() > limits.members) {
      return invalid(fmt::format("A JSON object in the body has more than {} members.", limits.members));
    }
    if (values > limits.values) return invalid(fmt::format("The JSON body has more than {} values.", limits.values));
  }
  return {};
}

}  // namespace

Result<Json> parse_body(std::string_view text, const JsonLimits& limits) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return invalid("The request body is empty; it must be a JSON object.");
  TRY_VOID(check_limits(text, limits));
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    std::string_view what = e.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    if (const size_t end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    return invalid(fmt::format("The request body is not valid JSON: {}", what));
  }
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace xylem
