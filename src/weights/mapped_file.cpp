#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace xylem {
namespace {

Error failed(const std::string& path, const char* what) {
  const std::string text = path + ": " + what + ": " + std::strerror(errno);
  return errno == ENOENT ? not_found(text) : invalid(text);
}

struct Descriptor {
  int fd;
  ~Descriptor() { if (fd >= 0) ::close(fd); }
};

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK a named pipe in place of the file would block here for ever.
  const Descriptor d{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (d.fd < 0) return failed(path, "cannot be opened");
  struct stat st {};
  if (fstat(d.fd, &st) != 0) return failed(path, "cannot be read");
  if (!S_ISREG(st.st_mode)) return invalid(path + ": is not a file");
  const size_t size = size_t(st.st_size);
  const std::byte* data = nullptr;
  if (size) {
    void* p = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, d.fd, 0);
    if (p == MAP_FAILED) return failed(path, "cannot be mapped");
    data = static_cast<const std::byte*>(p);
  }
  return std::unique_ptr<MappedFile>(new MappedFile(path, data, size));
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::advise(const std::byte* p, size_t bytes, int advice) const {
  if (!bytes) return;
  static const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(p) + bytes + page - 1) / page * page;
  madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

void MappedFile::drop(const std::byte* p, size_t bytes) const { advise(p, bytes, MADV_DONTNEED); }
void MappedFile::prefetch(const std::byte* p, size_t bytes) const { advise(p, bytes, MADV_WILLNEED); }

}  // namespace xylem
