#pragma once
#include <string_view>

namespace xylem {

// Whether an Authorization header carries the key as "Bearer KEY". Takes the same time wherever the first difference
// is.
bool authorized(std::string_view authorization, std::string_view api_key);

}  // namespace xylem
