// An HTTP request and a whole response, free of any library.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/json_body.h"

namespace xylem {

struct HttpRequest {
  std::string method;         // "GET" ...
  std::string path;           // percent-decoded, without the query
  std::string authorization;  // header, may be empty
  std::string content_type;   // header, may be empty
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

HttpResponse json_response(const Json& json, int status = 200);
HttpResponse text_response(std::string text, int status = 200);
HttpResponse error_response(int status, std::string_view message, std::string_view param = {},
                            std::string_view code = {});
HttpResponse error_response(const Error& error);
std::string_view reason_phrase(int status);

// "%2F" -> "/"; an incomplete escape stays as it is.
std::string percent_decode(std::string_view text);

}  // namespace xylem
