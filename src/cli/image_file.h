// A picture on this machine as a part of a message.
#pragma once
#include <string>

#include "base/result.h"
#include "server/json_body.h"

namespace xylem {

// {"type": "image_url", ...} with the file as a data URL. Errors name the file: it cannot be read, or is not a picture that is
// understood, as its first bytes say.
Result<Json> image_part(const std::string& file);

// A text with images before it, as the content of a message; without images the text itself.
Json message_content(const std::string& text, const Json& image_parts);

}  // namespace xylem
