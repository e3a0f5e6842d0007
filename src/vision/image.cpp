#include "vision/image.h"

#include <cstring>

#include "vision/codecs.h"

namespace xylem {
namespace {

// Of a side, as libpng has it by default: a resized picture of one extreme side would not fit into memory either.
constexpr int kMaxSide = 1'000'000;

bool begins_with(FileBytes file, std::string_view what, size_t at = 0) {
  return file.size() >= at + what.size() && std::memcmp(file.data() + at, what.data(), what.size()) == 0;
}

Result<ImageHeader> header_of(FileBytes file) {
  const auto format = image_format(file);
  if (!format) return invalid("The image is none of the formats that are understood: PNG, JPEG, WebP.");
  switch (*format) {
    case ImageFormat::kPng:
      return png_header(file);
    case ImageFormat::kJpeg:
      return jpeg_header(file);
    case ImageFormat::kWebp:
      return webp_header(file);
  }
  return internal_error("No such image format.");
}

Status decode(FileBytes file, ImageFormat format, Image& image) {
  switch (format) {
    case ImageFormat::kPng:
      return decode_png(file, image);
    case ImageFormat::kJpeg:
      return decode_jpeg(file, image);
    case ImageFormat::kWebp:
      return decode_webp(file, image);
  }
  return internal_error("No such image format.");
}

std::string size_text(const ImageHeader& h) { return std::to_string(h.width) + " x " + std::to_string(h.height); }

}  // namespace

const char* mime_type(ImageFormat f) {
  switch (f) {
    case ImageFormat::kPng:
      return "image/png";
    case ImageFormat::kJpeg:
      return "image/jpeg";
    case ImageFormat::kWebp:
      return "image/webp";
  }
  return "";
}

std::optional<ImageFormat> image_format(FileBytes file) {
  using namespace std::literals;
  if (begins_with(file, "\x89PNG\r\n\x1a\n"sv)) return ImageFormat::kPng;
  if (begins_with(file, "\xff\xd8\xff"sv)) return ImageFormat::kJpeg;
  if (begins_with(file, "RIFF"sv) && begins_with(file, "WEBP"sv, 8)) return ImageFormat::kWebp;
  return std::nullopt;
}

Result<ImageHeader> read_image_header(FileBytes file) {
  TRY(const ImageHeader h, header_of(file));
  if (h.width < 1 || h.height < 1) return invalid("The image has no pixels.");
  if (h.width > kMaxSide || h.height > kMaxSide)
    return invalid("The image has " + size_text(h) + " pixels; a side may have " + std::to_string(kMaxSide) + ".");
  return h;
}

Result<Image> decode_image(FileBytes file, int64_t max_pixels) {
  TRY(const ImageHeader h, read_image_header(file));
  if (int64_t(h.width) * h.height > max_pixels)
    return invalid("The image has " + size_text(h) + " pixels, more than the " + std::to_string(max_pixels) +
                   " that are decoded here; send a smaller one (the server's limit is --mm-max-pixels).");
  Image image{h.width, h.height, std::vector<uint8_t>(size_t(h.width) * h.height * 3)};
  TRY_VOID(decode(file, h.format, image));
  return image;
}

}  // namespace xylem
