// Gemma 4: pictures are resized, also enlarged, to fill a budget of tokens; levels become 0 to 1.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "vision/families.h"

namespace xylem {
namespace {

constexpr std::array<int, 5> kBudgets = {70, 140, 280, 560, 1120};

class Gemma4Processor : public ImageProcessor {
 public:
  struct Geometry {
    int patch, cell, budget_tokens;
  };
  Gemma4Processor(const ImageOptions& options, const Geometry& geometry, const PixelTable& levels, TokenId image,
                  TokenId begin, TokenId end)
      : geometry_(geometry), levels_(levels) {
    options_ = options;
    placeholder_ = image;
    before_ = {begin};
    after_ = {end};
  }

  using ImageProcessor::process;
  Result<ImagePatches> process(const Image& image) const override;
  Result<int> tokens(int width, int height) const override;
  int max_tokens() const override { return geometry_.budget_tokens; }

 private:
  struct Cells {
    int wide, high;
  };
  int side() const { return geometry_.patch * geometry_.cell; }
  Result<Cells> cells(int width, int height) const;

  Geometry geometry_;
  PixelTable levels_;
};

// The arithmetic is the reference's, in double: as many whole cells as the budget holds at the picture's proportions.
Result<Gemma4Processor::Cells> Gemma4Processor::cells(int width, int height) const {
  if (width < 1 || height < 1) return invalid("The image has no pixels.");
  const double w = width, h = height, budget = geometry_.budget_tokens;
  const double factor = std::sqrt(budget * side() * side() / (w * h));
  double high = std::floor(factor * h / side()), wide = std::floor(factor * w / side());
  if (high == 0) {
    high = 1;
    wide = std::min(std::floor(w / h), budget);
  } else if (wide == 0) {
    wide = 1;
    high = std::min(std::floor(h / w), budget);
  }
  if (high * wide > budget)
    return invalid("An image of " + std::to_string(width) + " x " + std::to_string(height) +
                   " pixels has no size within " + std::to_string(geometry_.budget_tokens) + " tokens.");
  return Cells{static_cast<int>(wide), static_cast<int>(high)};
}

Result<int> Gemma4Processor::tokens(int width, int height) const {
  TRY(const Cells c, cells(width, height));
  return c.wide * c.high;
}

Result<ImagePatches> Gemma4Processor::process(const Image& image) const {
  TRY(const Cells c, cells(image.width, image.height));
  const Image resized = resize_bicubic(image, c.wide * side(), c.high * side());
  const int patch = geometry_.patch;
  const auto write = [&](int row, int col, float* to) {  // [row, col, colour]
    for (int y = 0; y < patch; ++y) {
      const uint8_t* from = resized.rgb.data() + (size_t(row + y) * resized.width + col) * 3;
      for (int i = 0; i < patch * 3; ++i) *to++ = levels_.value[i % 3][from[i]];
    }
  };
  return cut(resized, patch, geometry_.cell, patch * patch * 3, write);
}

Status check_budget(const ProcessorConfig& c, const ImageOptions& options, int64_t budget) {
  if (std::find(kBudgets.begin(), kBudgets.end(), budget) != kBudgets.end()) return {};
  return invalid((options.max_soft_tokens ? std::string("--mm-max-soft-tokens") : c.file + ": max_soft_tokens") +
                 " is " + std::to_string(budget) + ", but must be one of 70, 140, 280, 560, 1120.");
}

}  // namespace

Result<ProcessorPtr> make_gemma4_processor(const ProcessorConfig& c, const ImageOptions& options) {
  if (options.min_pixels || options.max_pixels)
    return invalid(
        "--mm-min-pixels-per-image and --mm-max-pixels-per-image do not fit this model: its images have a "
        "budget of tokens, --mm-max-soft-tokens.");
  TRY_VOID(check_resize(c));
  const int64_t budget = options.max_soft_tokens ? options.max_soft_tokens : c.max_soft_tokens.value_or(280);
  TRY_VOID(check_budget(c, options, budget));
  Gemma4Processor::Geometry g{0, 0, static_cast<int>(budget)};
  TRY(g.patch, setting(c, "patch_size", c.patch_size, 16, 1, 64));
  TRY(g.cell, setting(c, "pooling_kernel_size", c.pooling_kernel_size, 3, 1, 16));
  TRY(const PixelTable levels, pixel_table(c, false, {0, 0, 0}, {1, 1, 1}));
  TRY(const TokenId image, required_token("image_token_id", c.image_token));
  TRY(const TokenId begin, required_token("boi_token_id", c.begin_token));
  TRY(const TokenId end, required_token("eoi_token_id", c.end_token));
  return ProcessorPtr(std::make_shared<Gemma4Processor>(options, g, levels, image, begin, end));
}

}  // namespace xylem
