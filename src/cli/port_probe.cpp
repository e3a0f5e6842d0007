#include "cli/port_probe.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

namespace xylem {

Status probe_port(const std::string& host, int port) {
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  const std::string service = std::to_string(port);
  if (const int e = getaddrinfo(host.c_str(), service.c_str(), &hints, &list); e != 0)
    return invalid("--host " + host + ": " + gai_strerror(e) + "; use 127.0.0.1, 0.0.0.0 or an address of this machine");
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
  const int fd = socket(list->ai_family, SOCK_STREAM, 0);
  if (fd < 0) return internal_error(std::string("cannot open a socket: ") + std::strerror(errno));
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool ok = bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = errno;
  close(fd);
  if (ok) return {};
  if (error == EADDRINUSE)
    return unavailable("port " + service + " of " + host + " is in use by another program; stop it or choose another with --port");
  return invalid("cannot listen on " + host + ":" + service + ": " + std::strerror(error));
}

}  // namespace xylem
