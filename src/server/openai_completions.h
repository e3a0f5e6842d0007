// POST /v1/completions: body -> TextJob with its formatter.
#pragma once
#include "base/result.h"
#include "server/body_images.h"
#include "server/json_body.h"
#include "server/text_job.h"

namespace xylem {

Result<TextJob> parse_completions(const App& app, const Json& body, const BodyImages& none = {});

}  // namespace xylem
