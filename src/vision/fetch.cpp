#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "vision/sources.h"

namespace xylem {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kMaxRedirections = 5;

template <auto F>
struct Free {
  void operator()(auto* p) const { F(p); }
};
using Curl = std::unique_ptr<CURL, Free<curl_easy_cleanup>>;
using Url = std::unique_ptr<CURLU, Free<curl_url_cleanup>>;

// As libcurl itself reads it, so that what is checked is what is connected to. Empty when there is no such part.
std::string part(CURLU* url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, 0) != CURLUE_OK) return "";
  const std::unique_ptr<char, Free<curl_free>> owner(text);
  return text;
}

std::string plain_host(std::string host) {
  for (char& c : host)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (host.ends_with('.')) host.pop_back();
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return host;
}

// redirected: the client did not write this URL, so nothing of it is told.
Status check_url(CURLU* url, const MediaAccess& access, bool redirected) {
  const std::string scheme = part(url, CURLUPART_SCHEME), host = plain_host(part(url, CURLUPART_HOST));
  if (scheme != "http" && scheme != "https") return invalid("The image's URL leads away from http and https.");
  if (!part(url, CURLUPART_USER).empty() || !part(url, CURLUPART_PASSWORD).empty())
    return invalid("The image's URL holds a user name or password, which is not sent from here.");
  const auto same = [&](const std::string& domain) { return plain_host(domain) == host; };
  if (!host.empty() && std::any_of(access.domains.begin(), access.domains.end(), same)) return {};
  if (redirected) return invalid("The image's server redirects to a host that --allowed-media-domains does not name.");
  return invalid("Images are not fetched from this host; --allowed-media-domains HOST would allow it.");
}

struct Download {
  std::string bytes;
  int64_t limit = 0;
  bool too_large = false;
};

size_t on_data(char* data, size_t, size_t count, void* to) {
  auto& d = *static_cast<Download*>(to);
  d.too_large = static_cast<int64_t>(count) > d.limit - static_cast<int64_t>(d.bytes.size());
  if (d.too_large) return 0;  // ends the transfer
  d.bytes.append(data, count);
  return count;
}

void prepare(CURL* curl, CURLU* url, Download& download, long timeout_ms) {
  curl_easy_setopt(curl, CURLOPT_CURLU, url);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");  // whatever the environment says
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
  curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(download.limit));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &download);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "xylem");
}

Error failure(CURLcode code, const Download& download, const MediaAccess& access) {
  if (download.too_large || code == CURLE_FILESIZE_EXCEEDED) return too_large(access);
  if (code == CURLE_OPERATION_TIMEDOUT) return invalid("The image could not be fetched in time.");
  return invalid("The image could not be fetched from its server.");
}

// One request. Nothing: the bytes are in download; otherwise the URL that the server redirects to.
Result<std::optional<std::string>> request(CURLU* url, Download& download, const MediaAccess& access,
                                           Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  if (left <= 0) return failure(CURLE_OPERATION_TIMEDOUT, download, access);
  const Curl curl(curl_easy_init());
  if (!curl) return internal_error("No memory to fetch an image with.");
  download.bytes.clear();
  prepare(curl.get(), url, download, static_cast<long>(left));
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) return failure(code, download, access);
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  char* next = nullptr;
  curl_easy_getinfo(curl.get(), CURLINFO_REDIRECT_URL, &next);
  if (status / 100 == 3 && next) return std::optional<std::string>(next);
  if (status != 200) return invalid("The image's server answered with status " + std::to_string(status) + ".");
  return std::optional<std::string>();
}

}  // namespace

Result<std::string> fetch_url(const std::string& url, const MediaAccess& access) {
  if (access.domains.empty())
    return invalid(
        "Images are not fetched from the network; --allowed-media-domains HOST would allow a host. "
        "Send the image as a data URL instead.");
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) return internal_error("libcurl cannot be used.");
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(std::clamp(access.timeout_seconds, 0.0, 3600.0)));
  Download download{"", access.max_file_bytes};
  std::string next = url;
  for (int hop = 0; hop <= kMaxRedirections; ++hop) {
    const Url parsed(curl_url());
    if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, next.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
      return invalid("The image's URL is not a valid one.");
    TRY_VOID(check_url(parsed.get(), access, hop > 0));
    TRY(auto further, request(parsed.get(), download, access, end));
    if (!further) return std::move(download.bytes);
    next = std::move(*further);
  }
  return invalid("The image's server redirects too often.");
}

}  // namespace xylem
