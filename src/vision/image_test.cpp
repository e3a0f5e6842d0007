// Decoding and resizing against Pillow and torch (tests/golden/images), and files that are damaged or hostile.
#include "vision/image.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "vision/media.h"
#include "vision/test_files.h"

namespace xylem {
namespace {

constexpr int64_t kPlenty = 1 << 20;

const nlohmann::json& expected() {
  static const auto json = nlohmann::json::parse(read_text(kGolden / "images/expected.json"));
  return json;
}
std::string picture(const std::string& name) { return read_text(kGolden / "images" / name); }

std::string error_of(std::string_view file, int64_t max_pixels = kPlenty) {
  const auto image = decode_image(as_file(file), max_pixels);
  return image.ok() ? "no error" : image.error().text;
}

uint64_t fnv(const std::vector<uint8_t>& bytes) {
  uint64_t h = 0xcbf29ce484222325;
  for (const uint8_t b : bytes) h = (h ^ b) * 0x100000001b3;
  return h;
}

void append_big_endian(std::string& out, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(v >> shift);
}

std::string png_header_of(uint32_t width, uint32_t height) {
  std::string file = std::string("\x89PNG\r\n\x1a\n", 8);
  append_big_endian(file, 13);
  file += "IHDR";
  append_big_endian(file, width);
  append_big_endian(file, height);
  return file + std::string("\x08\x02\0\0\0", 5) + "????";
}

TEST(Image, DecodesEveryKindAsPillow) {
  const auto& all = expected()["images"];
  ASSERT_GE(all.size(), 30u);
  for (const auto& [name, want] : all.items()) {
    const std::string file = picture(name);
    const auto header = read_image_header(as_file(file));
    ASSERT_TRUE(header.ok()) << name << ": " << header.error().text;
    EXPECT_EQ(header->width, want["width"]) << name;
    EXPECT_EQ(header->height, want["height"]) << name;
    const auto image = decode_image(as_file(file), kPlenty);
    ASSERT_TRUE(image.ok()) << name << ": " << image.error().text;
    const std::string rgb = decode_base64(want["rgb"].get<std::string>()).value();
    EXPECT_EQ(std::string(image->rgb.begin(), image->rgb.end()), rgb) << name;
  }
}

TEST(Image, SaysTheFormatByContent) {
  EXPECT_STREQ(mime_type(read_image_header(as_file(picture("rgb8.png")))->format), "image/png");
  EXPECT_STREQ(mime_type(read_image_header(as_file(picture("cmyk.jpg")))->format), "image/jpeg");
  EXPECT_STREQ(mime_type(read_image_header(as_file(picture("moving.webp")))->format), "image/webp");
  for (const std::string other : {"", "GIF89a", "BM", "\x89PNG", "RIFF\4\0\0\0WAVE", "<svg/>"})
    EXPECT_NE(error_of(other).find("PNG, JPEG, WebP"), std::string::npos) << other;
}

TEST(Image, EveryPrefixIsAnErrorOrAnImage) {
  for (const auto& [name, want] : expected()["images"].items()) {
    const std::string file = picture(name);
    size_t images = 0;
    for (size_t n = 0; n < file.size(); ++n) images += decode_image(as_file(file.substr(0, n)), kPlenty).ok();
    EXPECT_EQ(images, 0u) << name << ": a truncated file passed";
  }
}

TEST(Image, DamagedFilesAreErrorsOrImages) {
  std::mt19937 random(7);
  for (const auto& [name, want] : expected()["images"].items()) {
    const std::string file = picture(name);
    for (int i = 0; i < 300; ++i) {
      std::string damaged = file;
      for (int k = random() % 4; k >= 0; --k) damaged[random() % file.size()] = static_cast<char>(random());
      const auto image = decode_image(as_file(damaged), kPlenty);
      if (image.ok()) {
        EXPECT_EQ(image->rgb.size(), size_t(image->width) * image->height * 3);
      } else {
        EXPECT_FALSE(image.error().text.empty());
      }
    }
  }
}

TEST(Image, BombsAreRefusedBeforeDecoding) {
  EXPECT_NE(error_of(png_header_of(60000, 60000)).find("60000 x 60000"), std::string::npos);
  EXPECT_NE(error_of(png_header_of(60000, 60000)).find("--mm-max-pixels"), std::string::npos);
  EXPECT_NE(error_of(png_header_of(0x7fffffff, 0x7fffffff)).find("a side may have"), std::string::npos);
  EXPECT_NE(error_of(png_header_of(0xffffffff, 1)).find("not valid"), std::string::npos);
  EXPECT_NE(error_of(png_header_of(0, 5)).find("no pixels"), std::string::npos);
  for (const char* name : {"rgb8.png", "rgb-420.jpg", "lossy.webp"}) {  // 13 x 9
    EXPECT_NE(error_of(picture(name), 116).find("13 x 9 pixels, more than the 116"), std::string::npos) << name;
    EXPECT_EQ(error_of(picture(name), 117), "no error") << name;
  }
}

TEST(Image, MoreScansThanAPictureNeedsAreRefused) {
  const std::string file = picture("progressive.jpg");
  const size_t last = file.rfind("\xff\xda"), end = file.size() - 2;  // the last scan, and the marker of the end
  std::string bomb = file.substr(0, end);
  for (int i = 0; i < 100; ++i) bomb += file.substr(last, end - last);
  EXPECT_NE(error_of(bomb + file.substr(end)).find("too many scans"), std::string::npos);
}

TEST(Image, ResizesAsTorch) {
  const auto& cases = expected()["resize"];
  ASSERT_GE(cases.size(), 15u);
  for (const auto& c : cases) {
    const int width = c["to"][0], height = c["to"][1];
    const Image out = resize_bicubic(noise(c["size"][0], c["size"][1], c["seed"]), width, height);
    EXPECT_EQ(out.width, width);
    EXPECT_EQ(out.height, height);
    EXPECT_EQ(fnv(out.rgb), std::stoull(c["fnv"].get<std::string>(), nullptr, 16)) << c.dump();
  }
}

TEST(Image, ResizeKeepsFlatPicturesFlat) {
  for (const int level : {0, 1, 127, 254, 255}) {
    const Image flat{50, 30, std::vector<uint8_t>(50 * 30 * 3, static_cast<uint8_t>(level))};
    for (const auto& [w, h] : {std::pair(1, 1), {7, 96}, {224, 5}, {49, 31}})
      EXPECT_EQ(resize_bicubic(flat, w, h).rgb, std::vector<uint8_t>(size_t(w) * h * 3, static_cast<uint8_t>(level)));
  }
}

}  // namespace
}  // namespace xylem
