// For tests: a plain blocking HTTP client over a socket, so that nothing of the server's own code judges it.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "base/check.h"

namespace xylem {

struct Reply {
  int status = 0;                              // 0: the connection ended without a response
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
};

class TestClient {
 public:
  explicit TestClient(int port, int receive_buffer = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    CHECK(fd_ >= 0, std::strerror(errno));
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    timeval limit{.tv_sec = 60};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, std::strerror(errno));
  }
  ~TestClient() { close(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  static std::string request(std::string_view method, std::string_view path, std::string_view body,
                             std::string_view headers = {}) {
    return std::string(method) + " " + std::string(path) +
           " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + std::string(headers) +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  }
  void post(std::string_view path, std::string_view body, std::string_view headers = {}) {
    send(request("POST", path, body, headers));
  }

  // Bytes until text has come, which stays in front of what the next read takes. False when the connection ends before.
  bool read_until(std::string_view text) {
    while (buffer_.find(text) == std::string::npos)
      if (!fill()) return false;
    return true;
  }
  bool closed_by_server() {
    while (fill()) buffer_.clear();
    return true;
  }

  Reply reply(bool to_head = false) {
    Reply r;
    if (!read_until("\r\n\r\n")) return r;
    const size_t end = buffer_.find("\r\n\r\n");
    parse_head(buffer_.substr(0, end), r);
    buffer_.erase(0, end + 4);
    if (to_head || r.status == 204 || r.status < 200) return r;
    if (r.headers.contains("transfer-encoding")) {
      read_chunks(r.body);
    } else if (r.headers.contains("content-length")) {
      const size_t size = std::stoul(r.headers["content-length"]);
      while (buffer_.size() < size && fill()) {
      }
      r.body = buffer_.substr(0, size);
      buffer_.erase(0, size);
    } else {
      while (fill()) {
      }
      r.body = std::exchange(buffer_, {});
    }
    return r;
  }

 private:
  bool fill() {
    char bytes[16384];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }
  static void parse_head(const std::string& head, Reply& r) {
    r.status = std::atoi(head.c_str() + head.find(' '));
    for (size_t at = head.find("\r\n"); at != std::string::npos;) {
      const size_t next = head.find("\r\n", at + 2);
      const std::string line = head.substr(at + 2, next == std::string::npos ? next : next - at - 2);
      std::string name = line.substr(0, line.find(':'));
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      r.headers[name] = line.substr(std::min(line.size(), line.find(':') + 2));
      at = next;
    }
  }
  void read_chunks(std::string& body) {
    while (read_until("\r\n")) {
      const size_t line = buffer_.find("\r\n"), size = std::stoul(buffer_, nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2)
        if (!fill()) return;
      body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) return;
    }
  }

  int fd_;
  std::string buffer_;
};

}  // namespace xylem
