#include "server/body_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>

#include "base/clock.h"
#include "server/app.h"
#include "server/fields.h"
#include "vision/media.h"

namespace xylem {
namespace {

constexpr size_t kMaxImages = 4096;  // of one request: bounds what a small body can make the server do

Error at_path(const std::string& path, const Error& error) {
  const bool ours = error.code == Code::kInternal;
  return {ours ? Code::kInternal : Code::kInvalid, fmt::format("{}: {}", path, error.text)};
}

// "auto", "low" or "high" as OpenAI's clients send them: how an image is scaled is the model's, so it changes nothing.
void check_detail(Fields& fields) {
  std::string detail;
  if (fields.string("detail", detail) && detail != "auto" && detail != "low" && detail != "high")
    fields.fail("detail", "must be auto, low or high.");
}

// The runs of placeholders in ids when they are as long as the images are; else empty.
std::vector<ImageInput> whole_runs(const std::vector<TokenId>& ids, TokenId placeholder,
                                   const std::vector<ImagePtr>& images) {
  std::vector<ImageInput> runs;
  for (size_t i = 0; i < ids.size();) {
    if (ids[i] != placeholder) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < ids.size() && ids[i] == placeholder) ++i;
    if (runs.size() == images.size() || i - begin != static_cast<size_t>(images[runs.size()]->tokens())) return {};
    runs.push_back({static_cast<int>(begin), images[runs.size()]});
  }
  if (runs.size() != images.size()) runs.clear();
  return runs;
}

}  // namespace

bool is_image_part(const Json& part) {
  if (!part.is_object()) return false;
  const auto type = part.find("type");
  return type != part.end() && (*type == "image_url" || *type == "image");
}

Result<ImageSource> read_image_part(const Json& part, const std::string& path) {
  Fields fields(part, path);
  check_detail(fields);
  for (const char* name : {"image_url", "image", "url"}) {
    const Json* value = fields.get(name);
    if (!value) continue;
    if (value->is_string()) return ImageSource{&value->get_ref<const std::string&>(), fields.path(name)};
    if (std::string_view(name) != "image_url") {
      fields.fail(name, fmt::format("must be a string, not {}.", kind_name(*value)));
      break;
    }
    Fields inner(*value, fields.path(name));
    check_detail(inner);
    const Json* url = inner.get("url");
    if (url && url->is_string() && inner.status().ok())
      return ImageSource{&url->get_ref<const std::string&>(), inner.path("url")};
    inner.fail("url", url ? fmt::format("must be a string, not {}.", kind_name(*url)) : "is missing.");
    return inner.status().error();
  }
  fields.fail("image_url", "is missing.");
  return fields.status().error();
}

Status check_images(const App& app, const std::vector<ImageSource>& sources) {
  if (sources.empty()) return {};
  if (!app.model.images)
    return invalid(fmt::format("{}: this model takes no images; send text only.", sources[0].path));
  const int limit = app.config.max_images_per_request;
  if (limit >= 0 && sources.size() > static_cast<size_t>(limit))
    return invalid(fmt::format("The request has {} images; at most {} are allowed (--limit-mm-data-per-request).",
                               sources.size(), limit));
  if (sources.size() > kMaxImages)
    return invalid(fmt::format("The request has {} images; at most {} are allowed.", sources.size(), kMaxImages));
  return {};
}

Result<ImagePtr> load_image(App& app, const ImageSource& source) {
  auto file = load_media(*source.text, app.config.media, source.raw_base64);
  if (!file.ok()) return at_path(source.path, file.error());
  const double begin = now_seconds();
  auto patches = app.model.images->process(std::as_bytes(std::span(*file)));
  if (!patches.ok()) return at_path(source.path, patches.error());
  app.metrics.image_processed(now_seconds() - begin);
  return std::make_shared<const ImagePatches>(*std::move(patches));
}

Result<BodyImages> load_images(App& app, const std::vector<ImageSource>& sources) {
  TRY_VOID(check_images(app, sources));
  BodyImages images;
  const std::vector<size_t> first = first_of_equals(sources);
  for (size_t i = 0; i < sources.size(); ++i) {
    ImagePtr image = images.find(sources[first[i]]);
    if (!image) {
      TRY(image, load_image(app, sources[i]));
    }
    images.add(sources[i], std::move(image));
  }
  return images;
}

std::vector<size_t> first_of_equals(const std::vector<ImageSource>& sources) {
  std::vector<size_t> first(sources.size());
  if (sources.size() < 2) return first;
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < sources.size(); ++i) first[i] = seen.emplace(*sources[i].text, i).first->second;
  return first;
}

Result<ImagePtr> find_image(const App& app, const BodyImages& images, const ImageSource& source) {
  TRY_VOID(check_images(app, {source}));
  ImagePtr image = images.find(source);
  if (!image) return invalid(fmt::format("{}: this route takes no images.", source.path));
  return image;
}

Status check_image_tokens(const App& app, int64_t tokens, bool at_least) {
  const int64_t context = app.engine.info().context_length;
  if (tokens < context) return {};
  return invalid(fmt::format(
      "This model's maximum context length is {} tokens. However, the images of your prompt need {}{} tokens. Please "
      "send fewer or smaller images.",
      context, at_least ? "at least " : "", tokens));
}

Result<PlacedPrompt> place_images(const App& app, std::vector<TokenId> ids, const std::vector<ImagePtr>& images,
                                  std::string_view path) {
  if (!app.model.images) return PlacedPrompt{std::move(ids), {}};
  int64_t tokens = 0;
  for (const ImagePtr& image : images) tokens += image->tokens();
  TRY_VOID(check_image_tokens(app, tokens, /*at_least=*/false));
  if (auto runs = whole_runs(ids, app.model.images->placeholder(), images); !runs.empty())
    return PlacedPrompt{std::move(ids), std::move(runs)};
  auto expanded = app.model.images->expand(ids, images);
  if (!expanded.ok()) return at_path(std::string(path), expanded.error());
  PlacedPrompt placed{std::move(expanded->ids), {}};
  for (size_t i = 0; i < images.size(); ++i) placed.images.push_back({expanded->first_token[i], images[i]});
  return placed;
}

}  // namespace xylem
