// What vision's tests share: files of tests/golden, and the noise of its pictures.
#pragma once
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "vision/codecs.h"

namespace xylem {

inline const std::filesystem::path kGolden = XYLEM_SOURCE_DIR "/tests/golden";

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}

inline FileBytes as_file(std::string_view bytes) { return std::as_bytes(std::span(bytes.data(), bytes.size())); }

inline Image noise(int width, int height, uint32_t seed) {
  Image image{width, height, std::vector<uint8_t>(size_t(width) * height * 3)};
  for (uint8_t& v : image.rgb) v = static_cast<uint8_t>((seed = seed * 1664525u + 1013904223u) >> 24);
  return image;
}

// A folder of its own for one test, gone after it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "xylem-vision-XXXXXX").string();
    if (mkdtemp(name.data())) path_ = std::filesystem::canonical(name);
  }
  ~ScratchFolder() {
    if (!path_.empty()) std::filesystem::remove_all(path_);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace xylem
