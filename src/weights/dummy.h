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

// A seed for part `b` of thing `a`: close inputs give unrelated seeds.
uint64_t mix_seed(uint64_t seed, uint64_t a, uint64_t b);

}  // namespace xylem
