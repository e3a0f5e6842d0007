// The life of a connection: request after request until one side ends it.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <memory>

#include "server/connection.h"

namespace xylem {

struct App;

// Never throws: whatever goes wrong ends this connection only.
asio::awaitable<void> serve_connection(std::shared_ptr<Connection> connection, App& app);

}  // namespace xylem
