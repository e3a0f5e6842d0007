#include "weights/pack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace xylem {
namespace {

// Every shape of a panel against the definition of the layout, from rows at odd addresses.
TEST(Pack, PanelEqualsPackedIndex) {
  for (DType type : {DType::kBF16, DType::kF16, DType::kF32}) {
    const int64_t size = int64_t(dtype_bytes(type));
    for (int64_t k = 1; k <= 40; k++) {
      std::vector<std::byte> source(size_t(kPanel * k * size + 1));
      std::byte* const base = source.data() + 1;
      for (int64_t i = 0; i < kPanel * k * size; i++) base[i] = std::byte(uint8_t(i * 7 + i / 256 + 1));
      PanelRows rows;
      for (int64_t r = 0; r < kPanel; r++) rows[size_t(r)] = base + r * k * size;
      std::vector<std::byte> out(size_t(packed_numel(kPanel, k, type) * size), std::byte{0xee});
      pack_panel(rows, k, type, out.data());
      std::vector<std::byte> want(out.size(), std::byte{0});
      for (int64_t n = 0; n < kPanel; n++)
        for (int64_t c = 0; c < k; c++) std::copy_n(rows[size_t(n)] + c * size, size, want.begin() + packed_index(n, c, k, type) * size);
      ASSERT_EQ(out, want) << dtype_name(type) << " k " << k;
    }
  }
}

TEST(Pack, WidensExactly) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); i++) bits[i] = uint16_t(i);
  std::vector<std::byte> odd(bits.size() * 2 + 1);
  std::memcpy(odd.data() + 1, bits.data(), bits.size() * 2);
  std::vector<float> out(bits.size());
  convert_numbers(odd.data() + 1, DType::kBF16, out.data(), DType::kF32, int64_t(out.size()));
  for (size_t i = 0; i < bits.size(); i++) ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), uint32_t(i) << 16);
  convert_numbers(odd.data() + 1, DType::kF16, out.data(), DType::kF32, int64_t(out.size()));
  EXPECT_EQ(out[0x3c00], 1.0f);
  EXPECT_EQ(out[0x0001], 0x1p-24f);
  EXPECT_EQ(out[0xfbff], -65504.0f);
  EXPECT_TRUE(std::isinf(out[0x7c00]) && std::isnan(out[0x7e00]));
}

}  // namespace
}  // namespace xylem
