#include "runtime/request_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "nn/vision.h"
#include "runtime/step.h"

namespace xylem {
namespace {

// Of a request with images, every placeholder belongs to one that the vision tower takes. Without any, it is a token like others.
Status check_images(const GenerateRequest& r, const EngineInfo& info, const Model& model) {
  if (r.images.empty()) return {};
  if (!info.images) return invalid("This model takes no images.");
  const VisionTower& tower = *model.vision();
  int64_t end = 0, placeholders = 0;
  for (const ImageInput& image : r.images) {
    const ImagePatches& p = *image.patches;
    CHECK(p.cell == tower.cell() && p.grid_h > 0 && p.grid_w > 0 && p.grid_h % p.cell == 0 && p.grid_w % p.cell == 0, p.cell, p.grid_h, p.grid_w);
    CHECK(int64_t(p.pixels.size()) == int64_t(p.patches()) * tower.patch_numbers(), p.pixels.size(), p.patches());
    const int64_t first = image.first_token, n = p.tokens();
    if (n > info.max_image_tokens) return invalid(fmt::format("An image has {} tokens; at most {} can be taken.", n, info.max_image_tokens));
    if (std::string why = tower.refusal(p); !why.empty()) return invalid(std::move(why));
    if (first < end || first + n > int64_t(r.prompt.size())) return invalid("The images do not lie one after the other within the prompt.");
    for (int64_t i = first; i < first + n; i++)
      if (r.prompt[size_t(i)] != info.image_token) return invalid(fmt::format("Token {} of the prompt is not the placeholder of an image, {}.", i, info.image_token));
    end = first + n, placeholders += n;
  }
  if (model.whole_images() && r.prompt_logprobs_from >= 0 && r.prompt_logprobs_from < end - 1)
    return invalid(fmt::format("Log-probabilities of the prompt can be had from its last image on: from position {}.", end - 1));
  const int64_t all = std::count(r.prompt.begin(), r.prompt.end(), info.image_token);
  if (all == placeholders) return {};
  return invalid(fmt::format("The prompt has {} placeholder tokens of images ({}), but its {} images have {}.", all, info.image_token, r.images.size(), placeholders));
}

}  // namespace

Status check_request(const GenerateRequest& r, const EngineInfo& info, const Model& model) {
  const auto outside_vocabulary = [&](TokenId id) { return id < 0 || id >= info.vocab_size; };
  if (r.prompt.empty()) return invalid("The prompt is empty.");
  if (int64_t(r.prompt.size()) >= info.context_length)
    return invalid(fmt::format("The prompt has {} tokens; the context holds {}.", r.prompt.size(), info.context_length));
  for (TokenId id : r.prompt)
    if (outside_vocabulary(id)) return invalid(fmt::format("Token id {} of the prompt is outside the vocabulary of {}.", id, info.vocab_size));
  for (const auto& [id, value] : r.sampling.logit_bias)
    if (outside_vocabulary(id)) return invalid(fmt::format("Token id {} of logit_bias is outside the vocabulary of {}.", id, info.vocab_size));
  for (TokenId id : r.logprob_ids)
    if (outside_vocabulary(id)) return invalid(fmt::format("Token id {} of token_ids_logprob is outside the vocabulary of {}.", id, info.vocab_size));
  if (r.sampling.logit_bias.size() + r.stop_ids.size() > size_t(kMaxAdjustments))
    return invalid(fmt::format("logit_bias and stop token ids together have more than {} entries.", kMaxAdjustments));
  if (r.logprob_ids.size() > size_t(kMaxChosen)) return invalid(fmt::format("token_ids_logprob has more than {} entries.", kMaxChosen));
  if (r.top_logprobs > kMaxTopLogprobs) return invalid(fmt::format("At most {} top log-probabilities can be asked for.", kMaxTopLogprobs));
  if (r.max_new_tokens < 1) return invalid("max_new_tokens must be at least 1.");
  return check_images(r, info, model);
}

}  // namespace xylem
