// Where the bytes of an image come from, one function for each kind of place. Errors as media.h says.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"
#include "vision/media.h"

namespace xylem {

// path: absolute, or relative to the folder.
Result<std::string> read_local_file(const std::string& path, const MediaAccess& access);
Result<std::string> fetch_url(const std::string& url, const MediaAccess& access);
Error too_large(const MediaAccess& access);

}  // namespace xylem
