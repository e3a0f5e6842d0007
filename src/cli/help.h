// How `--help` of every command is laid out.
#pragma once
#include <memory>

#include <CLI/CLI.hpp>

namespace xylem {

// What the command does, its usage, its options by group, then the examples (the command's footer). Text is wrapped.
std::shared_ptr<CLI::FormatterBase> help_formatter();

}  // namespace xylem
