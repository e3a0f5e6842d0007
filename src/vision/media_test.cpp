// Where images come from: data URLs, files below a folder, and a small HTTP server of our own.
#include "vision/media.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "vision/test_files.h"

namespace xylem {
namespace {

std::string png() { return read_text(kGolden / "images/rgb8.png"); }
std::string jpeg() { return read_text(kGolden / "images/rgb-420.jpg"); }

std::string error_of(std::string_view url, const MediaAccess& access = {}, bool raw = false) {
  const auto r = load_media(url, access, raw);
  return r.ok() ? "no error" : r.error().text;
}
bool holds(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

TEST(Base64, BothWays) {
  std::string all;
  for (int n = 0; n < 300; ++n) {
    EXPECT_EQ(decode_base64(encode_base64(all)).value(), all);
    all += static_cast<char>(n * 7);
  }
  EXPECT_EQ(encode_base64("Man"), "TWFu");
  EXPECT_EQ(encode_base64("Ma"), "TWE=");
  EXPECT_EQ(encode_base64("M"), "TQ==");
}

TEST(Base64, OnlyTheStandardForm) {
  for (const char* bad :
       {"TQ", "TQ=", "TQ===", "T===", "====", "TW Fu", "TWFu\n", "TW-_", "TQ==TQ==", "=TQ=", "TWF", "\xff\xff\xff\xff"})
    EXPECT_FALSE(decode_base64(bad).ok()) << bad;
  EXPECT_EQ(decode_base64("").value(), "");
}

TEST(Media, DataUrls) {
  const std::string data = encode_base64(png());
  for (const char* head :
       {"data:image/png;base64,", "DATA:image/PNG;Base64,", "data:;base64,", "data:image/png;charset=x;base64,"})
    EXPECT_EQ(load_media(head + data, {}, false).value(), png()) << head;
  EXPECT_EQ(load_media("data:image/jpg;base64," + encode_base64(jpeg()), {}, false).value(), jpeg());
  EXPECT_TRUE(holds(error_of("data:image/jpeg;base64," + data), "says image/jpeg, but its data is image/png"));
  EXPECT_TRUE(holds(error_of("data:image/png;base64,AAAA"), "none of image/png"));
  EXPECT_TRUE(holds(error_of("data:image/gif;base64," + data), "not one that is understood"));
  EXPECT_TRUE(holds(error_of("data:text/html;base64," + data), "not one that is understood"));
  EXPECT_TRUE(holds(error_of("data:image/png," + data), "not base64"));
  EXPECT_TRUE(holds(error_of("data:image/png;base64,@@@@"), "not valid base64"));
  EXPECT_TRUE(holds(error_of("data:image/png;base64"), "no comma"));
  EXPECT_TRUE(holds(error_of("data:"), "no comma"));
  EXPECT_TRUE(holds(error_of(""), "empty"));
}

TEST(Media, SizeCap) {
  MediaAccess access;
  access.max_file_bytes = static_cast<int64_t>(png().size());
  const std::string url = "data:image/png;base64," + encode_base64(png());
  EXPECT_TRUE(load_media(url, access, false).ok());
  --access.max_file_bytes;
  EXPECT_TRUE(holds(error_of(url, access), "bytes"));
  access.max_file_bytes = 3;
  EXPECT_TRUE(holds(error_of(url, access), "more than 3 bytes"));
}

TEST(Media, RawBase64OnlyWhereAsked) {
  EXPECT_EQ(load_media(encode_base64(png()), {}, true).value(), png());
  EXPECT_EQ(load_media(encode_base64(jpeg()), {}, true).value(), jpeg());  // begins with a slash, as a path does
  EXPECT_TRUE(holds(error_of(encode_base64(png())), "none of the kinds"));
  EXPECT_TRUE(holds(error_of("hello world", {}, true), "base64"));
  EXPECT_TRUE(holds(error_of("abcd", {}, true), "none of the formats"));
  for (const char* url : {"ftp://host/a.png", "gopher://x", "javascript:alert(1)", "picture.png"})
    EXPECT_TRUE(holds(error_of(url), "none of the kinds")) << url;
}

class LocalFiles : public testing::Test {
 protected:
  LocalFiles() {
    std::filesystem::create_directories(scratch_.path() / "open/deep");
    std::filesystem::create_directories(scratch_.path() / "open-not");
    scratch_.write("open/a.png", png());
    scratch_.write("open/deep/a b.png", png());
    scratch_.write("secret.png", png());
    scratch_.write("open-not/a.png", png());
    std::filesystem::create_symlink(scratch_.path() / "secret.png", scratch_.path() / "open/out.png");
    std::filesystem::create_symlink(scratch_.path(), scratch_.path() / "open/up");
    std::filesystem::create_symlink("a.png", scratch_.path() / "open/in.png");
    mkfifo((scratch_.path() / "open/pipe").c_str(), 0600);
    access_.local_path = scratch_.path() / "open";
  }
  std::string open(const std::string& name) const { return (scratch_.path() / "open" / name).string(); }
  ScratchFolder scratch_;
  MediaAccess access_;
};

TEST_F(LocalFiles, BelowTheFolder) {
  for (const std::string& url : {"file://" + open("a.png"), "file://localhost" + open("a.png"), open("a.png"),
                                 std::string("a.png"), std::string("deep/a b.png"), "file://" + open("deep/a%20b.png"),
                                 "file://" + open("in.png"), open("deep/../a.png")})
    EXPECT_EQ(load_media(url, access_, false).value(), png()) << url;
  EXPECT_EQ(load_media(open("a.png"), access_, true).value(), png());
  access_.local_path += "/";
  EXPECT_TRUE(load_media("a.png", access_, false).ok());
}

TEST_F(LocalFiles, NothingElseAndAlwaysTheSameAnswer) {
  const std::string same = error_of(open("nowhere.png"), access_);
  EXPECT_TRUE(holds(same, "--allowed-local-media-path"));
  EXPECT_FALSE(holds(same, scratch_.path()));
  for (const std::string& url :
       {std::string("../secret.png"), open("../secret.png"), "file://" + open("%2e%2e/secret.png"), open("out.png"),
        open("up/secret.png"), open("deep"), open("pipe"), open(""), std::string("/etc/passwd"),
        std::string("file:///etc/passwd"), std::string("/dev/zero"), (scratch_.path() / "open-not/a.png").string(),
        "file://" + open("a.png%00.jpg"), open("a.png/"), std::string("."), std::string("/")})
    EXPECT_EQ(error_of(url, access_), same) << url;
  EXPECT_TRUE(holds(error_of("file://host/a.png", access_), "names no host"));
  EXPECT_TRUE(holds(error_of("file:///a%2", access_), "hexadecimal"));
  access_.local_path = open("gone");
  EXPECT_TRUE(holds(error_of("a.png", access_), "is not there"));
  access_.local_path = "";
  EXPECT_TRUE(holds(error_of("file://" + open("a.png"), access_), "--allowed-local-media-path FOLDER"));
}

TEST_F(LocalFiles, SizeCap) {
  access_.max_file_bytes = static_cast<int64_t>(png().size()) - 1;
  EXPECT_TRUE(holds(error_of("a.png", access_), "bytes"));
}

// Answers each connection with what reply(path) says, and closes it; a reply "hang" leaves it open.
class Server {
 public:
  explicit Server(std::function<std::string(const std::string&)> reply) : reply_(std::move(reply)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    for (const int fd : open_) close(fd);
  }
  std::string url(const std::string& path, const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(port_) + path;
  }
  int requests() const { return requests_; }
  std::string last_request() const { return last_; }  // after the client is done

 private:
  void serve() {
    for (int fd; (fd = accept(listener_, nullptr, nullptr)) >= 0;) {
      char buffer[4096];
      const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
      last_.assign(buffer, n > 0 ? n : 0);
      ++requests_;
      const size_t from = last_.find(' ') + 1;
      const std::string reply = reply_(last_.substr(from, last_.find(' ', from) - from));
      if (reply == "hang") {
        open_.push_back(fd);
        continue;
      }
      send(fd, reply.data(), reply.size(), MSG_NOSIGNAL);
      close(fd);
    }
  }

  std::function<std::string(const std::string&)> reply_;
  int listener_ = -1, port_ = 0;
  std::atomic<int> requests_ = 0;
  std::string last_;
  std::vector<int> open_;
  std::thread thread_;
};

std::string ok(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
std::string moved(const std::string& to) {
  return "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + to + "\r\n\r\n";
}

MediaAccess local_host() {
  MediaAccess access;
  access.domains = {"example.com", "127.0.0.1"};
  return access;
}

TEST(Fetch, AnImage) {
  const Server server([](const std::string&) { return ok(png()); });
  setenv("http_proxy", "http://127.0.0.1:1", 1);  // nobody there: the environment is not asked
  EXPECT_EQ(load_media(server.url("/a.png?x=1"), local_host(), false).value(), png());
  unsetenv("http_proxy");
  EXPECT_EQ(server.requests(), 1);
  EXPECT_TRUE(server.last_request().starts_with("GET /a.png?x=1 HTTP/1.1\r\n"));
  EXPECT_FALSE(holds(server.last_request(), "Authorization"));
}

TEST(Fetch, OnlyAllowedHosts) {
  const Server server([](const std::string&) { return ok(png()); });
  EXPECT_TRUE(holds(error_of(server.url("/")), "--allowed-media-domains"));
  for (const char* host : {"localhost", "127.0.0.2", "127.0.0.1.example.com", "example.com.evil.org",
                           "evil-example.com", "[::1]", "0x7f000002", "127.0.0.1@localhost"})
    EXPECT_NE(error_of(server.url("/", host), local_host()), "no error") << host;
  EXPECT_EQ(server.requests(), 0);
  MediaAccess named;
  named.domains = {"LocalHost."};
  EXPECT_TRUE(load_media(server.url("/", "localhost"), named, false).ok());
}

TEST(Fetch, NoCredentials) {
  const Server server([](const std::string&) { return ok(png()); });
  for (const char* user : {"me:pa55word@127.0.0.1", "me@127.0.0.1"}) {
    const std::string error = error_of(server.url("/", user), local_host());
    EXPECT_TRUE(holds(error, "user name or password")) << error;
    EXPECT_FALSE(holds(error, "pa55word"));
  }
  EXPECT_EQ(server.requests(), 0);
}

TEST(Fetch, SizeCap) {
  const std::string big(100000, 'x');
  const Server server([&](const std::string& path) {
    return path == "/said" ? ok(big) : "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + big;
  });
  MediaAccess access = local_host();
  access.max_file_bytes = 50000;
  EXPECT_TRUE(holds(error_of(server.url("/said"), access), "more than 50000 bytes"));
  EXPECT_TRUE(holds(error_of(server.url("/unsaid"), access), "more than 50000 bytes"));
  access.max_file_bytes = 100000;
  EXPECT_EQ(load_media(server.url("/unsaid"), access, false).value(), big);
}

TEST(Fetch, TimeLimit) {
  const Server server([](const std::string&) { return std::string("hang"); });
  MediaAccess access = local_host();
  access.timeout_seconds = 0.2;
  EXPECT_TRUE(holds(error_of(server.url("/"), access), "in time"));
  access.timeout_seconds = 0;
  EXPECT_TRUE(holds(error_of(server.url("/"), access), "in time"));
}

TEST(Fetch, EveryRedirectionIsChecked) {
  const Server elsewhere([](const std::string&) { return ok("secret"); });
  const Server server([&](const std::string& path) {
    if (path == "/away") return moved(elsewhere.url("/s3cret", "localhost"));
    if (path == "/file") return moved("file:///etc/passwd");
    if (path == "/login") return moved("http://me:pa55word@127.0.0.1/");
    if (path == "/loop") return moved("/loop");
    if (path == "/relative") return moved("image.png");
    if (path == "/broken") return moved("http://");
    return ok(png());
  });
  const MediaAccess access = local_host();
  EXPECT_EQ(load_media(server.url("/relative"), access, false).value(), png());
  const std::string away = error_of(server.url("/away"), access);
  EXPECT_TRUE(holds(away, "redirects to a host that --allowed-media-domains does not name"));
  EXPECT_FALSE(holds(away, "localhost"));
  EXPECT_EQ(elsewhere.requests(), 0);
  EXPECT_TRUE(holds(error_of(server.url("/file"), access), "away from http"));
  EXPECT_TRUE(holds(error_of(server.url("/login"), access), "user name or password"));
  EXPECT_TRUE(holds(error_of(server.url("/loop"), access), "too often"));
  EXPECT_NE(error_of(server.url("/broken"), access), "no error");
}

TEST(Fetch, OtherAnswersAreErrors) {
  const Server server([](const std::string& path) {
    if (path == "/404")
      return std::string("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 3\r\n\r\nhey");
    if (path == "/cut") return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    return std::string("this is not HTTP\r\n\r\n");
  });
  EXPECT_TRUE(holds(error_of(server.url("/404"), local_host()), "status 404"));
  EXPECT_TRUE(holds(error_of(server.url("/cut"), local_host()), "could not be fetched"));
  EXPECT_TRUE(holds(error_of(server.url("/garbage"), local_host()), "could not be fetched"));
  MediaAccess access = local_host();
  EXPECT_TRUE(holds(error_of("http://127.0.0.1:1/", access), "could not be fetched"));
  EXPECT_TRUE(holds(error_of("http://", access), "not a valid one"));
  EXPECT_TRUE(holds(error_of("http://exa mple.com/", access), "not a valid one"));
}

}  // namespace
}  // namespace xylem
