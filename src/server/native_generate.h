// POST /generate, SGLang's native route: body -> TextJob with its formatter.
#pragma once
#include "base/result.h"
#include "server/body_images.h"
#include "server/json_body.h"
#include "server/text_job.h"

namespace xylem {

Result<TextJob> parse_generate(const App& app, const Json& body, const BodyImages& images = {});
// None when image_data is not well-formed: the parser says what is wrong with it.
std::vector<ImageSource> find_generate_images(const Json& body);

}  // namespace xylem
