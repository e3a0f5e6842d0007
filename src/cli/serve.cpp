
#include "base/log.h"
#include "cli/commands.h"
#include "cli/port_probe.h"
#include "cli/setup.h"
#include "server/model_context.h"

namespace xylem {

Status serve(ServeOptions o) {
  TRY_VOID(prepare(o.model, "info"));
  TRY_VOID(probe_port(o.server.host, o.server.port));  // before the minutes that loading may take
  TRY(ModelContext context, load_model_context(o.model.engine.model, o.model.chat_template_file, o.model.reasoning_parser));
  TRY(const std::unique_ptr<Engine> engine, Engine::create(o.model.engine));
  TRY_VOID(add_image_processor(context, engine->info(), o.model.engine.images));
  TRY(const std::unique_ptr<Server> server, Server::listen(o.server, std::move(context), *engine));
  log::info("serving on http://{}:{}", o.server.host.find(':') == std::string::npos ? o.server.host : "[" + o.server.host + "]",
            server->port());
  TRY_VOID(server->run());
  log::info("stopped");
  return {};
}

}  // namespace xylem
