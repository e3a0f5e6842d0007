// What every command does before its work.
#pragma once
#include <string>

#include "cli/options.h"

namespace xylem {

// Log lines go to stderr. level: debug, info, warning or error.
void setup_log(const std::string& level);

// Sets the log level (o's, else default_level) and resolves the model: an unset one becomes the demo model's folder.
Status prepare(ModelOptionsCli& o, const std::string& default_level);

}  // namespace xylem
