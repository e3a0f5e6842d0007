// Random weights of a size, for measuring without a checkpoint.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace xylem {

// Normal numbers by table: exact quantiles, so never zero, and a few cycles each.
class NormalTable {
 public:
  explicit NormalTable(double mean, double stddev);
  // n numbers that depend on `seed` alone.
  void fill(uint64_t seed, float* out, int64_t n) const;
  void fill_bf16(uint64_t seed, uint16_t* out, int64_t n) const;

 private:
  static constexpr size_t kSize = 4096;
  std::array<float, kSize> f32_;
  std::array<uint16_t, kSize> bf16_;
};

// Codes of normal numbers of deviation 1 in units of a scale, and the scale that gives another deviation.
class NormalCodes {
 public:
  explicit NormalCodes(DType type);  // kF8E4M3 or kMxfp4
  // n bytes that depend on `seed` alone: a code each, or two.
  void fill(uint64_t seed, uint8_t* out, int64_t n) const;
  float f8_scale(double stddev) const;
  uint8_t mxfp4_scale(double stddev) const;  // the nearest power of two, as E8M0

 private:
  std::array<uint8_t, 4096> bytes_;
};

// A seed for part `b` of thing `a`: close inputs give unrelated seeds.
uint64_t mix_seed(uint64_t seed, uint64_t a, uint64_t b);

}  // namespace xylem
