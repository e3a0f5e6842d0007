#include "weights/dummy.h"

#include <cmath>
#include <cstring>

namespace xylem {
namespace {

// z with P(Z < z) = p, by bisection: 4096 of them once are quick enough.
double quantile(double p) {
  double lo = -6, hi = 6;
  for (int i = 0; i < 50; i++) {
    const double mid = (lo + hi) / 2;
    (0.5 * std::erfc(-mid / std::sqrt(2.0)) < p ? lo : hi) = mid;
  }
  return (lo + hi) / 2;
}

const std::array<double, 4096>& standard_quantiles() {
  static const std::array<double, 4096> table = [] {
    std::array<double, 4096> t;
    for (size_t i = 0; i < t.size(); i++) t[i] = quantile((double(i) + 0.5) / double(t.size()));
    return t;
  }();
  return table;
}

uint64_t splitmix(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

template <class T, size_t kSize>
void fill_from(const std::array<T, kSize>& table, uint64_t seed, T* out, int64_t n) {
  static_assert(kSize == 4096);
  uint64_t s = splitmix(seed) | 1;  // xorshift needs a state other than 0
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    s ^= s << 13, s ^= s >> 7, s ^= s << 17;
    const T v[4] = {table[s >> 52], table[s >> 40 & 4095], table[s >> 28 & 4095], table[s >> 16 & 4095]};
    std::memcpy(out + i, v, sizeof v);
  }
  for (; i < n; i++) {
    s ^= s << 13, s ^= s >> 7, s ^= s << 17;
    out[i] = table[s >> 52];
  }
}

}  // namespace

NormalTable::NormalTable(double mean, double stddev) {
  const auto& z = standard_quantiles();
  for (size_t i = 0; i < kSize; i++) {
    f32_[i] = float(mean + stddev * z[i]);
    bf16_[i] = f32_to_bf16(f32_[i]);
  }
}

void NormalTable::fill(uint64_t seed, float* out, int64_t n) const { fill_from(f32_, seed, out, n); }
void NormalTable::fill_bf16(uint64_t seed, uint16_t* out, int64_t n) const { fill_from(bf16_, seed, out, n); }

namespace {

// Deviation of the codes: what is rare reaches the largest of them, 448 and 6.
constexpr double kF8Deviation = 112, kMxfp4Deviation = 2;

template <class Value>
uint8_t nearest_code(double v, int codes, Value value) {
  int best = 0;
  for (int c = 1; c < codes; c++)
    if (std::abs(value(uint8_t(c)) - v) < std::abs(value(uint8_t(best)) - v)) best = c;  // never true of NaN
  return uint8_t(best);
}

std::array<uint8_t, 4096> f8_codes() {
  std::array<uint8_t, 4096> codes;
  for (size_t i = 0; i < codes.size(); i++) codes[i] = nearest_code(kF8Deviation * standard_quantiles()[i], 256, f8e4m3_to_f32);
  return codes;
}

// Every pair of 64 quantiles.
std::array<uint8_t, 4096> mxfp4_codes() {
  std::array<uint8_t, 64> one;
  for (size_t i = 0; i < one.size(); i++) one[i] = nearest_code(kMxfp4Deviation * standard_quantiles()[i * 64 + 32], 16, e2m1_to_f32);
  std::array<uint8_t, 4096> pairs;
  for (size_t i = 0; i < pairs.size(); i++) pairs[i] = uint8_t(one[i / 64] | one[i % 64] << 4);
  return pairs;
}

}  // namespace

NormalCodes::NormalCodes(DType type) : bytes_(type == DType::kMxfp4 ? mxfp4_codes() : f8_codes()) {}

void NormalCodes::fill(uint64_t seed, uint8_t* out, int64_t n) const { fill_from(bytes_, seed, out, n); }
float NormalCodes::f8_scale(double stddev) const { return float(stddev / kF8Deviation); }
uint8_t NormalCodes::mxfp4_scale(double stddev) const { return uint8_t(127 + std::lround(std::log2(stddev / kMxfp4Deviation))); }

uint64_t mix_seed(uint64_t seed, uint64_t a, uint64_t b) { return splitmix(splitmix(splitmix(seed) ^ a) ^ b); }

}  // namespace xylem
