#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "vision/sources.h"

namespace xylem {
namespace {

struct Descriptor {
  int fd;
  explicit Descriptor(int f) : fd(f) {}
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

// Empty when there is no such file.
std::string resolved(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
  return real ? real.get() : "";
}

// Where the open file lies, whatever happened to the path meanwhile.
std::string path_of(int fd) { return resolved("/proc/self/fd/" + std::to_string(fd)); }

bool below(const std::string& folder, const std::string& path) {
  return path.starts_with(folder == "/" ? folder : folder + "/");
}

// One text for all: what exists outside the folder, or is something else than a file there, is nobody's business.
Error not_there() {
  return not_found("There is no such image file below the folder that --allowed-local-media-path names.");
}

Result<std::string> read_all(int fd, size_t bytes, const MediaAccess& access) {
  std::string out(bytes, '\0');
  size_t have = 0;
  while (have < bytes) {
    const ssize_t n = read(fd, out.data() + have, bytes - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return not_there();
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  out.resize(have);
  if (static_cast<int64_t>(have) > access.max_file_bytes) return too_large(access);
  return out;
}

}  // namespace

Result<std::string> read_local_file(const std::string& path, const MediaAccess& access) {
  if (access.local_path.empty())
    return invalid(
        "Files of the server are not read; --allowed-local-media-path FOLDER would allow those below a folder.");
  if (path.empty() || path.find('\0') != path.npos) return not_there();
  const std::string folder = resolved(access.local_path);
  if (folder.empty()) return unavailable("The folder that --allowed-local-media-path names is not there.");
  const std::string real = resolved(path[0] == '/' ? path : folder + "/" + path);
  if (real.empty() || !below(folder, real)) return not_there();
  struct stat s;  // before it is opened: opening a device or a pipe does things
  if (stat(real.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) return not_there();
  const Descriptor file(open(real.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (file.fd < 0 || fstat(file.fd, &s) != 0 || !S_ISREG(s.st_mode) || !below(folder, path_of(file.fd)))
    return not_there();
  if (s.st_size > access.max_file_bytes) return too_large(access);
  return read_all(file.fd, static_cast<size_t>(s.st_size), access);
}

}  // namespace xylem
