// Paths -> what serves them.
#pragma once
#include <string_view>
#include <variant>

#include "base/result.h"
#include "server/http_types.h"
#include "server/text_job.h"

namespace xylem {

struct App;

using PlainHandler = HttpResponse (*)(App&, const HttpRequest&);      // answers at once
using JsonHandler = HttpResponse (*)(App&, const Json& body);         // the same, of a JSON body
using JobParser = Result<TextJob> (*)(const App&, const Json& body);  // generates
enum class Waiting { kHealth, kHealthGenerate, kFlushCache };         // needs the engine's answer

struct Route {
  std::string_view path;     // ending in "/*": a prefix
  std::string_view methods;  // "GET HEAD"
  std::variant<PlainHandler, JsonHandler, JobParser, Waiting> handler;
  bool open = false;  // no API key needed

  bool takes_json() const {
    return std::holds_alternative<JsonHandler>(handler) || std::holds_alternative<JobParser>(handler);
  }
};

const Route* find_route(std::string_view path);  // null: 404
bool allows(const Route& route, std::string_view method);

}  // namespace xylem
