#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>
// jpeglib.h needs <cstdio> before it, and jerror.h needs jpeglib.h.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "vision/codecs.h"

namespace xylem {
namespace {

// A progressive file may hold any number of scans, each of which costs as much as the whole picture.
constexpr int kMaxScans = 64;

// libjpeg reports errors by jumping back: read_header() and read_pixels() are where it lands, and own nothing.
class Jpeg {
 public:
  explicit Jpeg(FileBytes file) : file_(file) {
    d_.err = jpeg_std_error(&errors_);
    errors_.error_exit = on_error;
    errors_.emit_message = on_message;
    progress_.progress_monitor = on_progress;
    d_.client_data = this;
  }
  ~Jpeg() { jpeg_destroy_decompress(&d_); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  bool read_header();
  int width() const { return static_cast<int>(d_.image_width); }
  int height() const { return static_cast<int>(d_.image_height); }
  int components() const { return d_.num_components; }
  // ink: room for width x 4 numbers of a row, where there are 4 components.
  bool read_pixels(uint8_t* rgb, uint8_t* ink);
  std::string error() const { return std::string("The JPEG image cannot be decoded: ") + message_ + "."; }

 private:
  [[noreturn]] static void on_error(j_common_ptr d) {
    auto& self = *static_cast<Jpeg*>(d->client_data);
    d->err->format_message(d, self.message_);
    std::longjmp(self.back_, 1);
  }
  // Damage within the picture is a warning, which the decoder mends; the end of the file is an error here.
  static void on_message(j_common_ptr d, int level) {
    if (level < 0 && d->err->msg_code == JWRN_JPEG_EOF) on_error(d);
  }
  static void on_progress(j_common_ptr d) {
    if (reinterpret_cast<j_decompress_ptr>(d)->input_scan_number <= kMaxScans) return;
    auto& self = *static_cast<Jpeg*>(d->client_data);
    std::strncpy(self.message_, "it has too many scans", sizeof self.message_ - 1);
    std::longjmp(self.back_, 1);
  }

  FileBytes file_;
  jpeg_decompress_struct d_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_progress_mgr progress_ = {};
  std::jmp_buf back_;
  char message_[JMSG_LENGTH_MAX] = "";
};

bool Jpeg::read_header() {
  if (setjmp(back_)) return false;
  jpeg_create_decompress(&d_);
  d_.progress = &progress_;
  jpeg_mem_src(&d_, reinterpret_cast<const unsigned char*>(file_.data()), file_.size());
  jpeg_read_header(&d_, TRUE);
  return true;
}

// As Pillow: Photoshop's inverted inks are assumed, and turned into colours without a profile.
void ink_to_rgb(const uint8_t* ink, uint8_t* rgb, int width) {
  for (int x = 0; x < width; ++x, ink += 4, rgb += 3) {
    for (int c = 0; c < 3; ++c) {
      const int t = (255 - ink[c]) * ink[3] + 128;
      rgb[c] = static_cast<uint8_t>(ink[3] - ((t + (t >> 8)) >> 8));
    }
  }
}

bool Jpeg::read_pixels(uint8_t* rgb, uint8_t* ink) {
  if (setjmp(back_)) return false;
  const bool inks = d_.num_components == 4;
  d_.out_color_space = inks ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&d_);
  while (d_.output_scanline < d_.output_height) {
    uint8_t* const out = rgb + size_t(d_.output_scanline) * d_.output_width * 3;
    JSAMPROW row = inks ? ink : out;
    if (jpeg_read_scanlines(&d_, &row, 1) != 1) return false;
    if (inks) ink_to_rgb(ink, out, static_cast<int>(d_.output_width));
  }
  jpeg_finish_decompress(&d_);
  return true;
}

}  // namespace

Result<ImageHeader> jpeg_header(FileBytes file) {
  Jpeg jpeg(file);
  if (!jpeg.read_header()) return invalid(jpeg.error());
  return ImageHeader{ImageFormat::kJpeg, jpeg.width(), jpeg.height()};
}

Status decode_jpeg(FileBytes file, Image& image) {
  Jpeg jpeg(file);
  if (!jpeg.read_header()) return invalid(jpeg.error());
  if (jpeg.width() != image.width || jpeg.height() != image.height)
    return invalid("The JPEG image cannot be decoded: its header contradicts itself.");
  const int n = jpeg.components();
  if (n != 1 && n != 3 && n != 4)
    return invalid("The JPEG image cannot be decoded: it has " + std::to_string(n) + " components, not 1, 3 or 4.");
  std::vector<uint8_t> ink(n == 4 ? size_t(image.width) * 4 : 0);
  if (!jpeg.read_pixels(image.rgb.data(), ink.data())) return invalid(jpeg.error());
  return {};
}

}  // namespace xylem
