#include <cstdio>
#include <iostream>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/session.h"

namespace xylem {

Status run_prompt(RunOptions o) {
  if (o.prompt.empty() || o.prompt == "-") {
    if (isatty(0)) std::fputs("Type the prompt, then Ctrl-D.\n", stderr);
    o.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    while (!o.raw && o.prompt.ends_with('\n')) o.prompt.pop_back();  // the shell's, not the prompt's
  }
  if (o.prompt.empty()) return invalid("the prompt is empty; give it as an argument or on standard input");
  if (o.raw && !o.images.empty()) return invalid("--image needs the chat template; it does not go with --raw");
  Json images = Json::array();  // read before the seconds that loading takes
  for (const std::string& file : o.images) {
    TRY(Json part, image_part(file));
    images.push_back(std::move(part));
  }
  TRY(const auto session, Session::open(o.model, "warning"));
  Json body = sampling_body(o.sampling);
  if (o.raw) {
    body["prompt"] = o.prompt;
    if (!o.sampling.max_tokens) body["max_tokens"] = 128;  // no template ends the answer
  } else {
    body["messages"] = Json::array();
    if (!o.system.empty()) body["messages"].push_back({{"role", "system"}, {"content", o.system}});
    body["messages"].push_back({{"role", "user"}, {"content", message_content(o.prompt, images)}});
  }
  char last = '\n', last_reasoning = '\n';
  TRY(const Answer answer, session->ask(body, [&](std::string_view piece, bool reasoning) {
    std::FILE* out = reasoning ? stderr : stdout;  // standard output is the answer alone
    if (!reasoning && std::exchange(last_reasoning, '\n') != '\n') std::fputc('\n', stderr);
    std::fwrite(piece.data(), 1, piece.size(), out);
    std::fflush(out);
    (reasoning ? last_reasoning : last) = piece.back();
  }));
  if (last != '\n') std::fputc('\n', stdout);
  if (o.stats) fmt::print(stderr, "{}\n", describe(answer));
  return {};
}

}  // namespace xylem
