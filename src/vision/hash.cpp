#include "vision/hash.h"

#include <xxhash.h>

#include <array>
#include <memory>
#include <random>

#include "base/check.h"

namespace xylem {
namespace {

using Key = std::array<uint32_t, 48>;
static_assert(sizeof(Key) >= XXH3_SECRET_SIZE_MIN);

Key draw_key() {
  std::random_device random;
  Key key;
  for (uint32_t& word : key) word = random();
  return key;
}

struct FreeState {
  void operator()(XXH3_state_t* s) const { XXH3_freeState(s); }
};

}  // namespace

ContentHash hash_of(const ImagePatches& image) {
  static const Key key = draw_key();
  const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  CHECK(state != nullptr);
  XXH3_128bits_reset_withSecret(state.get(), key.data(), sizeof key);
  const std::array<int, 3> shape = {image.grid_h, image.grid_w, image.cell};
  XXH3_128bits_update(state.get(), shape.data(), sizeof shape);
  XXH3_128bits_update(state.get(), image.pixels.data(), image.pixels.size() * sizeof(float));
  const XXH128_hash_t h = XXH3_128bits_digest(state.get());
  return {h.low64, h.high64};
}

}  // namespace xylem
