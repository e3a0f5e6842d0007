#include "server/image_load.h"

#include <nlohmann/json.hpp>

#include "server/app.h"

namespace xylem {

ImageLoad::ImageLoad(App& app, std::shared_ptr<Connection> client, std::shared_ptr<const Json> body,
                     std::vector<ImageSource> sources)
    : Errand(std::move(client)),
      app_(app),
      body_(std::move(body)),
      sources_(std::move(sources)),
      first_(first_of_equals(sources_)),
      memory_(app.memory) {
  for (size_t i = 0; i < sources_.size(); ++i)
    if (first_[i] == i) distinct_.push_back(i);
  images_.resize(distinct_.size());
  left_ = distinct_.size();
}

void ImageLoad::work(size_t piece) {
  auto image = load_image(app_, sources_[distinct_[piece]]);
  std::unique_lock lock(mu_);
  if (error_) return;
  Status kept = image.ok() ? keep(piece, *std::move(image)) : Status(image.error());
  if (!kept.ok()) error_ = kept.error();
  --left_;
  const bool over = error_ || left_ == 0;
  lock.unlock();
  if (over) finish();
}

// Both limits are seen early, so that what is refused in the end takes little memory on its way.
Status ImageLoad::keep(size_t piece, ImagePtr image) {
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (first_[i] != distinct_[piece]) continue;
    int64_t& tokens = prompt_tokens_[sources_[i].prompt];
    tokens += image->tokens();
    TRY_VOID(check_image_tokens(app_, tokens, /*at_least=*/left_ > 1));
  }
  if (!memory_.grow(static_cast<int64_t>(image->pixels.size() * sizeof(float))))
    return unavailable("The images of the requests in flight take too much memory. Try again later.");
  images_[piece] = std::move(image);
  return {};
}

void ImageLoad::fail(Error error) {
  {
    std::lock_guard lock(mu_);
    if (!error_) error_ = std::move(error);
  }
  finish();
}

Result<BodyImages> ImageLoad::take(MemoryLease& memory) {
  std::lock_guard lock(mu_);
  if (error_) return *error_;
  memory = std::move(memory_);
  BodyImages images;
  std::map<size_t, ImagePtr> by_source;
  for (size_t piece = 0; piece < distinct_.size(); ++piece) by_source[distinct_[piece]] = images_[piece];
  for (size_t i = 0; i < sources_.size(); ++i) images.add(sources_[i], by_source[first_[i]]);
  return images;
}

}  // namespace xylem
