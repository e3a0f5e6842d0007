// The images of a request: where its body names them, how they become patches, and their places in a prompt.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "runtime/engine.h"
#include "server/json_body.h"

namespace xylem {

struct App;

using ImagePtr = std::shared_ptr<const ImagePatches>;

// An image as a body names it.
struct ImageSource {
  const std::string* text = nullptr;  // a string of the body: URL, data URL, path or base64
  std::string path;                   // where it stands, for messages: "messages[0].content[1].image_url.url"
  bool raw_base64 = false;            // it may be base64 without a URL around it
  int prompt = 0;                     // of which prompt of the body
};

// Of any part of a message's content. What image parts look like: {"type": "image_url", "image_url": {"url",
// "detail"}}, with a string in place of the object, or {"type": "image", "url" or "image": ...}.
bool is_image_part(const Json& part);
Result<ImageSource> read_image_part(const Json& part, const std::string& path);

// Loaded images, found by where their source stands in the body: nothing of it is copied or compared.
class BodyImages {
 public:
  void add(const ImageSource& source, ImagePtr image) { by_text_[source.text] = std::move(image); }
  ImagePtr find(const ImageSource& source) const {
    const auto it = by_text_.find(source.text);
    return it == by_text_.end() ? nullptr : it->second;
  }

 private:
  std::unordered_map<const std::string*, ImagePtr> by_text_;
};

// What can be refused before anything is loaded: a model that takes no images, more than a request may have.
Status check_images(const App& app, const std::vector<ImageSource>& sources);
// Fetches, decodes and processes. Blocks: for worker threads and command lines. Errors name the source's path.
Result<ImagePtr> load_image(App& app, const ImageSource& source);
// All of a body on this thread, each distinct source once.
Result<BodyImages> load_images(App& app, const std::vector<ImageSource>& sources);
// For each source the first one with the same text.
std::vector<size_t> first_of_equals(const std::vector<ImageSource>& sources);

// The loaded image of a source that a parser has come to.
Result<ImagePtr> find_image(const App& app, const BodyImages& images, const ImageSource& source);

struct PlacedPrompt {
  std::vector<TokenId> ids;
  std::vector<ImageInput> images;
};
// ids holds one placeholder for each image, or each image's whole run of them. kInvalid for any other count, no images
// included, and when the images alone do not fit the context; messages begin with path.
Result<PlacedPrompt> place_images(const App& app, std::vector<TokenId> ids, const std::vector<ImagePtr>& images,
                                  std::string_view path);
// Of images that have so many tokens; nothing when they fit. at_least: there are more that were not counted.
Status check_image_tokens(const App& app, int64_t tokens, bool at_least);

}  // namespace xylem
