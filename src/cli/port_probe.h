#pragma once
#include <string>

#include "base/result.h"

namespace xylem {

// An error when host:port cannot be listened on. Port 0 is always free.
Status probe_port(const std::string& host, int port);

}  // namespace xylem
