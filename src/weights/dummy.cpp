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

uint64_t mix_seed(uint64_t seed, uint64_t a, uint64_t b) { return splitmix(splitmix(splitmix(seed) ^ a) ^ b); }

}  // namespace xylem
