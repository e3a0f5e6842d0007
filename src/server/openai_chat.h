// POST /v1/chat/completions: body -> TextJob with its formatter.
#pragma once
#include "base/result.h"
#include "server/body_images.h"
#include "server/json_body.h"
#include "server/text_job.h"

namespace xylem {

Result<TextJob> parse_chat(const App& app, const Json& body, const BodyImages& images = {});
// Those that are well-formed: the parser says what is wrong with others.
std::vector<ImageSource> find_chat_images(const Json& body);

}  // namespace xylem
