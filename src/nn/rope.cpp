#include <numbers>

#include "nn/blocks.h"

namespace xylem {

RopeKind make_rope(const Config& rope, int64_t dim, double default_theta) {
  const std::string type = rope.has("rope_type") ? rope.text_or("rope_type", "default") : rope.text_or("type", "default");
  const double theta = rope.number_or("rope_theta", default_theta), factor = rope.number_or("factor", 1.0);
  const double partial = rope.number_or("partial_rotary_factor", 1.0);
  if (theta <= 0 || factor <= 0 || partial <= 0 || partial > 1) rope.fail("rope_theta, factor and partial_rotary_factor must be positive, the last at most 1");
  RopeKind kind;
  const bool proportional = type == "proportional";
  const int64_t rotated = int64_t(partial * double(dim)) / 2;  // pairs
  const int64_t pairs = proportional ? dim / 2 : rotated;      // proportional tables span the head; what does not rotate has frequency 0
  const double span = double(proportional ? dim : 2 * rotated);
  for (int64_t i = 0; i < pairs; i++) {
    double f = i < rotated ? std::pow(theta, -2.0 * double(i) / span) : 0.0;
    if (type == "linear" || proportional) f /= factor;
    if (type == "llama3") {
      const double lo = rope.number("low_freq_factor"), hi = rope.number("high_freq_factor"), orig = rope.number("original_max_position_embeddings");
      const double wave = 2 * std::numbers::pi / f, s = (orig / wave - lo) / (hi - lo);
      if (wave > orig / lo) f /= factor;
      else if (wave >= orig / hi) f = (1 - s) * f / factor + s * f;
    }
    kind.values.push_back(float(f));
  }
  if (type != "default" && type != "linear" && type != "llama3" && !proportional)
    rope.fail("rope_type '" + type + "' is not supported (supported: default, linear, llama3, proportional)");
  return kind;
}

}  // namespace xylem
