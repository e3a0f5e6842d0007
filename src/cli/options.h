// The options that several commands share, each declared once.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/engine.h"
#include "server/server.h"

namespace CLI {
class App;
}

namespace xylem {

// Which model, and how it runs. Goes with add_model_options.
struct ModelOptionsCli {
  EngineConfig engine;
  std::string chat_template_file;  // empty: the checkpoint's own
  std::string reasoning_parser = "auto";  // a name of reasoning_parser_names()
  std::string log_level;           // empty: the command's default
};

// How to sample; what is unset comes from the checkpoint's generation_config.json, as over HTTP.
struct SamplingFlags {
  std::optional<int> max_tokens, top_k, min_tokens;
  std::optional<double> temperature, top_p, min_p, frequency_penalty, presence_penalty, repetition_penalty;
  std::optional<int64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

void add_engine_options(CLI::App& app, ModelOptionsCli& o);
void add_server_options(CLI::App& app, ServerConfig& c);
void add_sampling_options(CLI::App& app, SamplingFlags& s);

// "4", or SGLang's {"image": 4}; how many images a request may have.
Result<int> parse_image_limit(std::string_view text);
// "2G", "512M", "1.5GiB", "4096": bytes. Units are powers of 1024.
Result<int64_t> parse_bytes(std::string_view text);
// 2147483648 -> "2.00 GiB".
std::string format_bytes(double bytes);

}  // namespace xylem
