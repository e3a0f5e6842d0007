// Qwen2-VL and those after it: pictures keep about their size within bounds of pixels; the template writes what stands
// around an image.
#include <algorithm>
#include <cmath>

#include "vision/families.h"

namespace xylem {
namespace {

constexpr int64_t kMaxPixels = int64_t(1) << 30;  // that the upper bound may be: counts then fit into int
constexpr double kMaxRatio = 200;                 // of the sides

class Qwen2VlProcessor : public ImageProcessor {
 public:
  struct Geometry {
    int patch, cell, frames;
    int64_t min_pixels, max_pixels;
  };
  Qwen2VlProcessor(const ImageOptions& options, const Geometry& geometry, const PixelTable& levels, TokenId image)
      : geometry_(geometry), levels_(levels) {
    options_ = options;
    placeholder_ = image;
  }

  using ImageProcessor::process;
  Result<ImagePatches> process(const Image& image) const override;
  Result<int> tokens(int width, int height) const override;
  int max_tokens() const override;

 private:
  struct Cells {
    int wide, high;
  };
  int side() const { return geometry_.patch * geometry_.cell; }
  Result<Cells> cells(int width, int height) const;

  Geometry geometry_;
  PixelTable levels_;
};

// The arithmetic is the reference's, in double. nearbyint rounds halves to even, as Python does.
Result<Qwen2VlProcessor::Cells> Qwen2VlProcessor::cells(int width, int height) const {
  if (width < 1 || height < 1) return invalid("The image has no pixels.");
  const double w = width, h = height, f = side();
  if (std::max(w, h) / std::min(w, h) > kMaxRatio)
    return invalid("An image of " + std::to_string(width) + " x " + std::to_string(height) +
                   " pixels is too long: one side may be 200 times the other.");
  const double least = static_cast<double>(geometry_.min_pixels), most = static_cast<double>(geometry_.max_pixels);
  double high = std::nearbyint(h / f), wide = std::nearbyint(w / f);
  if (high * f * (wide * f) > most) {
    const double beta = std::sqrt(h * w / most);
    high = std::max(1.0, std::floor(h / beta / f));
    wide = std::max(1.0, std::floor(w / beta / f));
  } else if (high * f * (wide * f) < least) {
    const double beta = std::sqrt(least / (h * w));
    high = std::ceil(h * beta / f);
    wide = std::ceil(w * beta / f);
  }
  return Cells{static_cast<int>(wide), static_cast<int>(high)};
}

Result<int> Qwen2VlProcessor::tokens(int width, int height) const {
  TRY(const Cells c, cells(width, height));
  return c.wide * c.high;
}

// Of pictures that are as large as the upper bound, of long ones that are a single cell high, and of small ones, whose
// sides are rounded up from the lower bound.
int Qwen2VlProcessor::max_tokens() const {
  const double f = side();
  const double most = static_cast<double>(geometry_.max_pixels) / (f * f);
  const double least = static_cast<double>(geometry_.min_pixels) / (f * f);
  const double enlarged = (std::sqrt(least * kMaxRatio) + 1) * (std::sqrt(least / kMaxRatio) + 1);
  return static_cast<int>(std::max({most, std::sqrt(most * kMaxRatio), enlarged}));
}

Result<ImagePatches> Qwen2VlProcessor::process(const Image& image) const {
  TRY(const Cells c, cells(image.width, image.height));
  const Image resized = resize_bicubic(image, c.wide * side(), c.high * side());
  const int patch = geometry_.patch, frames = geometry_.frames;
  const auto write = [&](int row, int col, float* to) {  // [colour, frame, row, col], every frame the same
    for (int colour = 0; colour < 3; ++colour) {
      const float* const first = to;
      for (int y = 0; y < patch; ++y) {
        const uint8_t* from = resized.rgb.data() + (size_t(row + y) * resized.width + col) * 3 + colour;
        for (int x = 0; x < patch; ++x) *to++ = levels_.value[colour][from[x * 3]];
      }
      for (int i = 1; i < frames; ++i) to = std::copy_n(first, patch * patch, to);
    }
  };
  return cut(resized, patch, geometry_.cell, 3 * frames * patch * patch, write);
}

Status check_bounds(const ProcessorConfig& c, const Qwen2VlProcessor::Geometry& g) {
  const int64_t cell_pixels = int64_t(g.patch) * g.cell * g.patch * g.cell;
  if (g.min_pixels >= 1 && g.min_pixels <= g.max_pixels && g.max_pixels >= cell_pixels && g.max_pixels <= kMaxPixels)
    return {};
  return invalid(
      "The bounds of an image's pixels are " + std::to_string(g.min_pixels) + " and " + std::to_string(g.max_pixels) +
      ", but must be in order and between 1 (the upper one: " + std::to_string(cell_pixels) + ") and " +
      std::to_string(kMaxPixels) + "; see --mm-min-pixels-per-image, --mm-max-pixels-per-image and " + c.file + ".");
}

}  // namespace

Result<ProcessorPtr> make_qwen2vl_processor(const ProcessorConfig& c, const ImageOptions& options) {
  if (options.max_soft_tokens)
    return invalid(
        "--mm-max-soft-tokens does not fit this model: its images have bounds of pixels, "
        "--mm-min-pixels-per-image and --mm-max-pixels-per-image.");
  TRY_VOID(check_resize(c));
  Qwen2VlProcessor::Geometry g{};
  TRY(g.patch, setting(c, "patch_size", c.patch_size, 14, 1, 64));
  TRY(g.cell, setting(c, "merge_size", c.merge_size, 2, 1, 16));
  TRY(g.frames, setting(c, "temporal_patch_size", c.temporal_patch_size, 2, 1, 8));
  g.min_pixels = options.min_pixels ? options.min_pixels : c.min_pixels.value_or(56 * 56);
  g.max_pixels = options.max_pixels ? options.max_pixels : c.max_pixels.value_or(28 * 28 * 1280);
  TRY_VOID(check_bounds(c, g));
  TRY(const PixelTable levels,
      pixel_table(c, true, {0.48145466, 0.4578275, 0.40821073}, {0.26862954, 0.26130258, 0.27577711}));
  TRY(const TokenId image, required_token("image_token_id", c.image_token));
  return ProcessorPtr(std::make_shared<Qwen2VlProcessor>(options, g, levels, image));
}

}  // namespace xylem
