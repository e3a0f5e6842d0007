// From a picture to patches and from a prompt with one placeholder an image to its final tokens, as the checkpoint's own processor
// does: preprocessor_config.json (or image_processor in processor_config.json), and the token ids of config.json.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "vision/image.h"
#include "vision/patches.h"

namespace xylem {

// What a user may set; 0: as the checkpoint says.
struct ImageOptions {
  int max_soft_tokens = 0;                      // of one image, where the family has such budgets (70, 140, 280, 560, 1120)
  int64_t min_pixels = 0, max_pixels = 0;       // of the resized picture, where the family has such bounds
  int64_t max_decoded_pixels = 64 << 20;        // width * height of a file: more are refused before decoding (--mm-max-pixels)
};

struct PromptWithImages {
  std::vector<TokenId> ids;
  std::vector<int> first_token;  // per image: where its placeholders begin in ids
};

// Immutable; any thread.
class ImageProcessor {
 public:
  // Null when config.json describes no vision model. An unknown image_processor_type, or an option that does not fit it, is an error.
  static Result<std::shared_ptr<const ImageProcessor>> load(const std::string& folder, const ImageOptions& options);
  virtual ~ImageProcessor() = default;

  Result<ImagePatches> process(std::span<const std::byte> file) const;  // decodes, then as below
  virtual Result<ImagePatches> process(const Image& image) const = 0;
  // Tokens of a picture of this size, and the most that one can have.
  virtual Result<int> tokens(int width, int height) const = 0;
  virtual int max_tokens() const = 0;

  TokenId placeholder() const { return placeholder_; }
  // ids holds one placeholder for each image, or is an error that says both numbers. Each becomes as many as its image has
  // tokens, between the tokens that begin and end an image where the family has the processor add them.
  Result<PromptWithImages> expand(std::span<const TokenId> ids, std::span<const std::shared_ptr<const ImagePatches>> images) const;

 protected:
  ImageOptions options_;
  TokenId placeholder_ = -1;
  std::vector<TokenId> before_, after_;  // of an image's placeholders
};

}  // namespace xylem
