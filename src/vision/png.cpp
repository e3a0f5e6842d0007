#include <png.h>

#include <cstring>

#include "vision/codecs.h"

namespace xylem {
namespace {

constexpr size_t kMaxChunkBytes = 8 << 20;  // of what libpng keeps of one chunk

// libpng reports errors by jumping back: read_info() and read_pixels() are where it lands, and own nothing.
class Png {
 public:
  explicit Png(FileBytes file) : left_(file) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png_) info_ = png_create_info_struct(png_);
  }
  ~Png() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  // Reads up to the pixels and has libpng make them 8-bit RGB.
  bool read_info();
  int width() const { return static_cast<int>(png_get_image_width(png_, info_)); }
  int height() const { return static_cast<int>(png_get_image_height(png_, info_)); }
  bool is_rgb(int width) const { return png_get_rowbytes(png_, info_) == size_t(width) * 3; }
  bool read_pixels(png_bytepp rows);
  std::string error() const { return std::string("The PNG image cannot be decoded: ") + message_ + "."; }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    auto& self = *static_cast<Png*>(png_get_error_ptr(png));
    std::strncpy(self.message_, text, sizeof self.message_ - 1);
    png_longjmp(png, 1);
  }
  static void on_read(png_structp png, png_bytep to, size_t count) {
    auto& left = static_cast<Png*>(png_get_io_ptr(png))->left_;
    if (count > left.size()) png_error(png, "the file is truncated");
    std::memcpy(to, left.data(), count);
    left = left.subspan(count);
  }

  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  FileBytes left_;
  char message_[128] = "no memory";
};

bool Png::read_info() {
  if (!png_ || !info_) return false;
  if (setjmp(png_jmpbuf(png_))) return false;
  png_set_read_fn(png_, this, on_read);
  png_set_chunk_malloc_max(png_, kMaxChunkBytes);
  png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // texts, profiles: never unpacked
  png_read_info(png_, info_);
  const int colour = png_get_color_type(png_, info_);
  png_set_strip_16(png_);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
  if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png_);
  png_set_gray_to_rgb(png_);
  png_set_strip_alpha(png_);
  png_set_interlace_handling(png_);
  png_read_update_info(png_, info_);
  return true;
}

bool Png::read_pixels(png_bytepp rows) {
  if (setjmp(png_jmpbuf(png_))) return false;
  png_read_image(png_, rows);
  png_read_end(png_, nullptr);
  return true;
}

uint32_t big_endian(FileBytes four) {
  uint32_t v = 0;
  for (int i = 0; i < 4; ++i) v = v << 8 | std::to_integer<uint32_t>(four[i]);
  return v;
}

}  // namespace

// Read by hand: the size stands at a fixed place, and nothing else is to be unpacked for it.
Result<ImageHeader> png_header(FileBytes file) {
  if (file.size() < 24 || std::memcmp(file.data() + 12, "IHDR", 4) != 0)
    return invalid("The PNG image cannot be decoded: it does not begin with a header.");
  const uint32_t width = big_endian(file.subspan(16, 4)), height = big_endian(file.subspan(20, 4));
  if (width > INT32_MAX || height > INT32_MAX)
    return invalid("The PNG image cannot be decoded: its size is not valid.");
  return ImageHeader{ImageFormat::kPng, int(width), int(height)};
}

Status decode_png(FileBytes file, Image& image) {
  Png png(file);
  if (!png.read_info()) return invalid(png.error());
  if (png.width() != image.width || png.height() != image.height || !png.is_rgb(image.width))
    return invalid("The PNG image cannot be decoded: its header contradicts itself.");
  std::vector<png_bytep> rows(image.height);
  for (int y = 0; y < image.height; ++y) rows[y] = image.rgb.data() + size_t(y) * image.width * 3;
  if (!png.read_pixels(rows.data())) return invalid(png.error());
  return {};
}

}  // namespace xylem
