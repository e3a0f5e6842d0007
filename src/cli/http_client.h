// Many HTTP requests at once from one thread: what the load generator and `eval --url` send.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace xylem {

struct Url {
  std::string host, port, path;  // path: without a final slash; put before every target
};
// "http://host:port/path"; the scheme may be left out. TLS is not supported.
Result<Url> parse_url(std::string_view text);

// status 0: no answer; error says why. body: all of it, unless a data handler took the pieces.
struct HttpReply {
  int status = 0;
  std::string body, error;
};

// One thread. Handlers run inside run() and may start more requests.
class HttpClient {
 public:
  using OnData = std::function<void(std::string_view piece)>;
  using OnDone = std::function<void(HttpReply reply)>;

  HttpClient(Url url, std::string api_key, double timeout_seconds);  // timeout: without a byte
  ~HttpClient();
  // on_data, if given, gets the body's pieces of a 200 answer as they come. method: GET when body is empty, else POST.
  void send(std::string target, std::string body, OnData on_data, OnDone on_done);
  void after(double seconds, std::function<void()> f);
  void run();  // until nothing is left to do

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// One request, waited for.
HttpReply http_request(const Url& url, const std::string& api_key, std::string target, std::string body, double timeout_seconds);

// The data lines of a stream of server-sent events, put together from pieces.
class SseLines {
 public:
  // Calls f(data) for each complete "data: ..." line.
  void push(std::string_view piece, const std::function<void(std::string_view data)>& f);

 private:
  std::string partial_;
};

}  // namespace xylem
