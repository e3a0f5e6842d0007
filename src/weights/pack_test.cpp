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

TEST(Pack, DeinterleavesHalves) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    const size_t size = dtype_bytes(type);
    for (size_t n = 0; n <= 70; n += 2) {
      std::vector<std::byte> source(n * size + 1), out(n * size), want(n * size);
      for (size_t i = 0; i < source.size(); i++) source[i] = std::byte(uint8_t(i * 7 + 3));
      for (size_t i = 0; i < n; i++) std::copy_n(source.data() + 1 + i * size, size, want.data() + (i % 2 * (n / 2) + i / 2) * size);
      deinterleave(source.data() + 1, type, int64_t(n), out.data());
      ASSERT_EQ(out, want) << dtype_name(type) << " " << n;
    }
  }
}

TEST(Pack, InputsEqualRows) {
  for (const DType type : {DType::kBF16, DType::kF16, DType::kF32}) {
    const int64_t size = int64_t(dtype_bytes(type));
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{16, 8}, {5, 3}, {35, 17}, {48, 1}}) {
      std::vector<std::byte> inputs(size_t(n * k * size + 1));
      for (size_t i = 0; i < inputs.size(); i++) inputs[i] = std::byte(uint8_t(i * 11 + i / 256 + 1));
      std::vector<std::byte> out(size_t(packed_bytes(n, k, type)), std::byte{0xee}), want(out.size(), std::byte{0});
      for (int64_t first = 0; first < k; first += 6) {
        std::vector<const std::byte*> rows;
        for (int64_t i = first; i < std::min(first + 6, k); i++) rows.push_back(inputs.data() + 1 + i * n * size);
        pack_inputs(rows.data(), first, int64_t(rows.size()), k, n, type, out.data());
      }
      for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < k; c++) std::copy_n(inputs.data() + 1 + (c * n + r) * size, size, want.begin() + packed_index(r, c, k, type) * size);
      ASSERT_EQ(out, want) << dtype_name(type) << " " << n << " x " << k;
    }
  }
}

TEST(Pack, FindsTheNansOfFloat8) {
  for (int code = 0; code < 256; code++) {
    for (size_t at : {size_t(0), size_t(7), size_t(8), size_t(18)}) {
      std::vector<std::byte> codes(19, std::byte{0x7e});
      codes[at] = std::byte(uint8_t(code));
      EXPECT_EQ(has_f8_nan(codes.data(), 19), (code & 0x7f) == 0x7f) << code << " at " << at;
    }
  }
}

}  // namespace
}  // namespace xylem
