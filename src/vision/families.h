// The families of image processors, each made from what a checkpoint's files say.
#pragma once
#include <memory>

#include "vision/config.h"
#include "vision/hash.h"
#include "vision/processor.h"

namespace xylem {

using ProcessorPtr = std::shared_ptr<const ImageProcessor>;

Result<ProcessorPtr> make_gemma4_processor(const ProcessorConfig& c, const ImageOptions& options);
Result<ProcessorPtr> make_qwen2vl_processor(const ProcessorConfig& c, const ImageOptions& options);

// Cuts a picture whose sides are multiples of patch * cell. write(row, col, to) writes the `numbers` of the patch whose
// upper left pixel is (row, col).
template <class Write>
ImagePatches cut(const Image& image, int patch, int cell, int numbers, Write&& write) {
  ImagePatches p{image.height / patch, image.width / patch, cell, {}, {}};
  p.pixels.resize(size_t(p.patches()) * numbers);
  for (int i = 0; i < p.patches(); ++i) {
    const auto [row, col] = p.at(i);
    write(row * patch, col * patch, p.pixels.data() + size_t(i) * numbers);
  }
  p.hash = hash_of(p);
  return p;
}

}  // namespace xylem
