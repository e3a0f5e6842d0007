// libFuzzer on what stands between hostile bytes and the libraries of PNG, JPEG and WebP: format, header, decoding, resizing.
//   build/image_fuzz -max_total_time=60 FOLDER_OF_WHAT_IT_FINDS tests/golden/images
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "vision/image.h"

namespace {

constexpr int64_t kMaxPixels = 1 << 16;  // larger pictures teach nothing and are slow

uint32_t big_endian(const uint8_t* p) { return uint32_t(p[0]) << 24 | uint32_t(p[1]) << 16 | uint32_t(p[2]) << 8 | p[3]; }

// A changed chunk with the old sum would be refused at once, and what reads its content never be tried.
void mend_png_sums(uint8_t* data, size_t size) {
  size_t at = 8;
  while (at + 12 <= size) {
    const size_t length = big_endian(data + at);
    if (length > size - at - 12) return;
    const auto sum = static_cast<uint32_t>(crc32(0, data + at + 4, static_cast<uInt>(length + 4)));
    for (int i = 0; i < 4; ++i) data[at + 8 + length + i] = static_cast<uint8_t>(sum >> (24 - 8 * i));
    at += length + 12;
  }
}

void check_pixels(const xylem::Image& image) {
  CHECK(image.width > 0 && image.height > 0, image.width, image.height);
  CHECK(image.rgb.size() == size_t(image.width) * image.height * 3, image.rgb.size());
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0 && size > 8 && std::memcmp(data, "\x89PNG", 4) == 0) mend_png_sums(data, size);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto header = xylem::read_image_header(file);
  const auto image = xylem::decode_image(file, kMaxPixels);
  if (!image.ok()) {
    CHECK(!image.error().text.empty());
    return 0;
  }
  CHECK(header.ok() && header->width == image->width && header->height == image->height);
  CHECK(int64_t(image->width) * image->height <= kMaxPixels);
  check_pixels(*image);
  const int width = 1 + data[size / 2] % 64, height = 1 + data[size / 3] % 64;
  const xylem::Image small = xylem::resize_bicubic(*image, width, height);
  CHECK(small.width == width && small.height == height);
  check_pixels(small);
  return 0;
}
