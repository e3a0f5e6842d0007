// What a checkpoint's files say about its image processor.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/token.h"

namespace xylem {

// Keys that are absent or null are empty. Families check the values of those they use.
struct ProcessorConfig {
  std::string file;  // that it comes from, for messages
  std::string type;  // image_processor_type
  std::optional<int64_t> patch_size, pooling_kernel_size, merge_size, temporal_patch_size, max_soft_tokens, resample;
  std::optional<int64_t> min_pixels, max_pixels;
  std::optional<bool> do_resize, do_rescale, do_normalize;
  std::optional<double> rescale_factor;
  std::optional<std::array<double, 3>> image_mean, image_std;
  std::optional<TokenId> image_token, begin_token, end_token;  // config.json
};

// Nothing when config.json has no vision_config.
Result<std::optional<ProcessorConfig>> read_processor_config(const std::string& folder);

// What each of the 256 levels of each colour becomes.
struct PixelTable {
  float value[3][256];
};

// One number between least and most, or the default; otherwise an error that names the key.
Result<int> setting(const ProcessorConfig& c, const char* key, const std::optional<int64_t>& value, int64_t otherwise,
                    int least, int most);
Result<TokenId> required_token(const char* key, const std::optional<TokenId>& token);
// An error when a picture is to be resized in another way than bicubic, or not at all.
Status check_resize(const ProcessorConfig& c);
// do_rescale and do_normalize in float32, fused as the reference fuses them.
Result<PixelTable> pixel_table(const ProcessorConfig& c, bool normalize_by_default, std::array<double, 3> mean,
                               std::array<double, 3> deviation);

}  // namespace xylem
