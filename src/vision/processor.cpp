#include "vision/processor.h"

#include <algorithm>

#include "base/check.h"
#include "vision/families.h"

namespace xylem {
namespace {

struct Family {
  const char* type;
  Result<ProcessorPtr> (*make)(const ProcessorConfig&, const ImageOptions&);
};

// "Fast" is a second implementation of the same arithmetic, and since version 5 of the reference the only one.
constexpr Family kFamilies[] = {{"Gemma4ImageProcessor", make_gemma4_processor},
                                {"Gemma4ImageProcessorFast", make_gemma4_processor},
                                {"Qwen2VLImageProcessor", make_qwen2vl_processor},
                                {"Qwen2VLImageProcessorFast", make_qwen2vl_processor}};

std::string known_types() {
  std::string names;
  for (const Family& f : kFamilies) names += (names.empty() ? "" : ", ") + std::string(f.type);
  return names;
}

}  // namespace

Result<std::shared_ptr<const ImageProcessor>> ImageProcessor::load(const std::string& folder,
                                                                   const ImageOptions& options) {
  if (options.max_decoded_pixels < 1) return invalid("--mm-max-pixels must be at least 1.");
  TRY(const auto config, read_processor_config(folder));
  if (!config) return ProcessorPtr();
  for (const Family& f : kFamilies)
    if (config->type == f.type) return f.make(*config, options);
  if (config->type.empty())
    return invalid(config->file + " has no image_processor_type; known: " + known_types() + ".");
  return unsupported(config->file + ": image_processor_type " + config->type +
                     " is not supported; known: " + known_types() + ".");
}

Result<ImagePatches> ImageProcessor::process(std::span<const std::byte> file) const {
  TRY(const ImageHeader header, read_image_header(file));
  if (const auto n = tokens(header.width, header.height); !n.ok()) return n.error();  // before the work of decoding
  TRY(const Image image, decode_image(file, options_.max_decoded_pixels));
  return process(image);
}

Result<PromptWithImages> ImageProcessor::expand(std::span<const TokenId> ids,
                                                std::span<const std::shared_ptr<const ImagePatches>> images) const {
  const auto holders = static_cast<size_t>(std::count(ids.begin(), ids.end(), placeholder_));
  if (holders != images.size())
    return invalid("The prompt has " + std::to_string(holders) + " placeholders for images, but there are " +
                   std::to_string(images.size()) + " images: each image needs one, and no text may spell one.");
  PromptWithImages out;
  size_t next = 0;
  for (const TokenId id : ids) {
    if (id != placeholder_) {
      out.ids.push_back(id);
      continue;
    }
    CHECK(images[next] != nullptr);
    out.ids.insert(out.ids.end(), before_.begin(), before_.end());
    out.first_token.push_back(static_cast<int>(out.ids.size()));
    out.ids.insert(out.ids.end(), images[next++]->tokens(), placeholder_);
    out.ids.insert(out.ids.end(), after_.begin(), after_.end());
  }
  return out;
}

}  // namespace xylem
