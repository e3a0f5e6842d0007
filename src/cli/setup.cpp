#include "cli/setup.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include "base/log.h"
#include "cli/model_path.h"

namespace xylem {

void setup_log(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("xylem");
  logger->set_pattern("%H:%M:%S.%e %^%l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

Status prepare(ModelOptionsCli& o, const std::string& default_level) {
  setup_log(o.log_level.empty() ? default_level : o.log_level);
  TRY(o.engine.model, model_or_demo(o.engine.model));
  return {};
}

}  // namespace xylem
