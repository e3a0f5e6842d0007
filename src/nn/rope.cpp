#include <algorithm>
#include <numbers>

#include "nn/blocks.h"

namespace xylem {
namespace {

// How much of each frequency stays as it is; the rest is divided by the factor (specs/common.md 5.2, yarn).
struct YarnRamp {
  double low, high;
  YarnRamp(const Config& rope, double theta, int64_t dim, double original) {
    const auto turns = [&](double r) { return double(dim) * std::log(original / (2 * std::numbers::pi * r)) / (2 * std::log(theta)); };
    low = turns(rope.number_or("beta_fast", 32)), high = turns(rope.number_or("beta_slow", 1));
    if (rope.flag_or("truncate", true)) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, double(dim - 1));
    if (low == high) high += 0.001;
  }
  double kept(int64_t i) const { return 1 - std::clamp((double(i) - low) / (high - low), 0.0, 1.0); }
};

// Settings that would make frequencies of zero, infinity or no number.
void check_llama3(const Config& rope) {
  const double lo = rope.number("low_freq_factor"), hi = rope.number("high_freq_factor");
  if (lo <= 0 || hi <= lo || rope.number("original_max_position_embeddings") <= 0)
    rope.fail("low_freq_factor and original_max_position_embeddings must be positive, high_freq_factor larger than low_freq_factor");
}
void check_yarn(const Config& rope) {
  const double fast = rope.number_or("beta_fast", 32), slow = rope.number_or("beta_slow", 1);
  if (slow <= 0 || fast <= slow) rope.fail("beta_slow must be positive and beta_fast larger");
}

double llama3_frequency(const Config& rope, double f, double factor) {
  const double lo = rope.number("low_freq_factor"), hi = rope.number("high_freq_factor"), original = rope.number("original_max_position_embeddings");
  const double wave = 2 * std::numbers::pi / f, s = (original / wave - lo) / (hi - lo);
  if (wave > original / lo) return f / factor;
  return wave >= original / hi ? (1 - s) * f / factor + s * f : f;
}

float yarn_gain(const Config& rope, double factor) {
  if (rope.has("attention_factor")) return float(rope.number_or("attention_factor", 1));
  const double m = rope.number_or("mscale", 0), all = rope.number_or("mscale_all_dim", 0);
  return float(m != 0 && all != 0 ? yarn_scale(factor, m) / yarn_scale(factor, all) : yarn_scale(factor, 1));
}

}  // namespace

double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

Config rope_config(const Config& c) {
  if (c.has("rope_parameters")) return c.child("rope_parameters");
  Config rope = c.child("rope_scaling");
  return rope.with_defaults(c, {"rope_theta", "partial_rotary_factor"});
}

RopeKind make_rope(const Config& rope, int64_t dim, double default_theta, int64_t max_position) {
  const std::string type = rope.has("rope_type") ? rope.text_or("rope_type", "default") : rope.text_or("type", "default");
  const double theta = rope.number_or("rope_theta", default_theta), partial = rope.number_or("partial_rotary_factor", 1.0);
  const bool proportional = type == "proportional", yarn = type == "yarn", llama3 = type == "llama3";
  const double original = rope.number_or("original_max_position_embeddings", double(max_position));
  const double factor = rope.number_or("factor", yarn && original > 0 ? double(max_position) / original : 1.0);
  RopeKind kind;
  if (theta <= 1 || factor <= 0 || partial <= 0 || partial > 1 || (yarn && original <= 0))
    rope.fail("rope_theta must be larger than 1, factor and original_max_position_embeddings positive, partial_rotary_factor in (0, 1]");
  else if (!yarn && !llama3 && !proportional && type != "default" && type != "linear")
    rope.fail("rope_type '" + type + "' is not supported (supported: default, linear, llama3, proportional, yarn)");
  else if (const int64_t n = proportional ? dim : int64_t(partial * double(dim)); n < 2 || n % 2)
    rope.fail("partial_rotary_factor rotates " + std::to_string(n) + " of the " + std::to_string(dim) + " dimensions of a head, expected an even number");
  if (llama3) check_llama3(rope);
  if (yarn) check_yarn(rope);
  if (!rope.status().ok()) return kind;
  const int64_t rotated = int64_t(partial * double(dim)) / 2;  // pairs
  const int64_t pairs = proportional ? dim / 2 : rotated;      // proportional tables span the head; what does not rotate has frequency 0
  const int64_t span = proportional ? dim : 2 * rotated;
  const YarnRamp ramp(rope, theta, span, yarn ? original : 1.0);
  for (int64_t i = 0; i < pairs; i++) {
    double f = i < rotated ? std::pow(theta, -2.0 * double(i) / double(span)) : 0.0;
    if (type == "linear" || proportional) f /= factor;
    if (yarn) f *= ramp.kept(i) + (1 - ramp.kept(i)) / factor;
    if (llama3) f = llama3_frequency(rope, f, factor);
    kind.values.push_back(float(f));
  }
  if (yarn) kind.gain = yarn_gain(rope, factor);
  return kind;
}

}  // namespace xylem
