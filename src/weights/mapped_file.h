// A file mapped read-only.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"

namespace xylem {

class MappedFile {
 public:
  // Errors name the path. An empty file maps to no bytes.
  static Result<std::unique_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  // The pages that hold [p, p + bytes) leave this process's memory; the next access reads them again. Any thread.
  void drop(const std::byte* p, size_t bytes) const;
  // Starts reading them from the disk.
  void prefetch(const std::byte* p, size_t bytes) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}
  void advise(const std::byte* p, size_t bytes, int advice) const;
  std::string path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace xylem
