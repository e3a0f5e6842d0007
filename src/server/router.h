// Paths -> what serves them.
#pragma once
#include <string_view>
#include <variant>

#include "base/result.h"
#include "server/body_images.h"
#include "server/http_types.h"
#include "server/text_job.h"

namespace xylem {

struct App;

using PlainHandler = HttpResponse (*)(App&, const HttpRequest&);  // answers at once
using JsonHandler = HttpResponse (*)(App&, const Json& body);     // the same, of a JSON body
// Generates. Where its body names images, they are found first, loaded, and given to the parser.
struct Generation {
  Result<TextJob> (*parse)(const App&, const Json& body, const BodyImages& images);
  std::vector<ImageSource> (*find_images)(const Json& body) = nullptr;  // what the parser will ask for; null: none
};
enum class Waiting { kHealth, kHealthGenerate, kFlushCache };  // needs the engine's answer

struct Route {
  std::string_view path;     // ending in "/*": a prefix
  std::string_view methods;  // "GET HEAD"
  std::variant<PlainHandler, JsonHandler, Generation, Waiting> handler;
  bool open = false;  // no API key needed

  bool takes_json() const {
    return std::holds_alternative<JsonHandler>(handler) || std::holds_alternative<Generation>(handler);
  }
};

const Route* find_route(std::string_view path);  // null: 404
bool allows(const Route& route, std::string_view method);

}  // namespace xylem
