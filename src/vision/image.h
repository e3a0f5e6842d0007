// Files of pictures -> pixels. Everything here takes hostile bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace xylem {

struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

enum class ImageFormat : uint8_t { kPng, kJpeg, kWebp };
const char* mime_type(ImageFormat f);  // "image/png"

struct ImageHeader {
  ImageFormat format{};
  int width = 0, height = 0;
};

// What the first bytes say: format by content, never by name. Errors name the formats that are understood.
Result<ImageHeader> read_image_header(std::span<const std::byte> file);

// The picture as Pillow's convert("RGB") gives it: transparency is dropped, grey and palettes become colours, 16 bits the upper 8,
// of an animation the first frame; EXIF orientation is ignored, as the reference does. More than max_pixels (width * height of the
// header) are refused before anything is decoded. A truncated file is an error.
Result<Image> decode_image(std::span<const std::byte> file, int64_t max_pixels);

// Bicubic (Keys, a = -1/2) with antialiasing on whole numbers, bit for bit as torch does it (specs/common.md 11). width, height >= 1.
Image resize_bicubic(const Image& image, int width, int height);

}  // namespace xylem
