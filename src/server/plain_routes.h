// Routes that answer without the engine's loop.
#pragma once
#include "server/http_types.h"

namespace xylem {

struct App;

HttpResponse list_models(App& app, const HttpRequest& request);
HttpResponse show_model(App& app, const HttpRequest& request);
HttpResponse show_metrics(App& app, const HttpRequest& request);
HttpResponse server_info(App& app, const HttpRequest& request);
HttpResponse model_info(App& app, const HttpRequest& request);
HttpResponse show_loads(App& app, const HttpRequest& request);
HttpResponse ping(App& app, const HttpRequest& request);
HttpResponse greeting(App& app, const HttpRequest& request);

HttpResponse tokenize(App& app, const Json& body);
HttpResponse detokenize(App& app, const Json& body);
HttpResponse abort_request(App& app, const Json& body);

}  // namespace xylem
