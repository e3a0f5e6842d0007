// Logging: log::info("loaded {} tensors", n). Levels by --log-level; output to stderr.
#pragma once
#include <spdlog/spdlog.h>

namespace xylem::log {
using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;
}  // namespace xylem::log
