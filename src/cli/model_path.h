#pragma once
#include <string>

#include "base/result.h"

namespace xylem {

// folder itself, or the demo model of this program's own tree when it is empty. An error when that is not there.
Result<std::string> model_or_demo(const std::string& folder);

}  // namespace xylem
