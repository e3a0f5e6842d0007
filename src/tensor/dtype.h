#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace xylem {

// F16 and BF16 are stored as uint16_t bits; see to_f32 / to_bf16 / to_f16. The last two are weights with scales beside them and
// exist in Layout::kPacked alone (tensor.h): kF8E4M3, a float32 scale for each row and 128 inputs (specs/common.md 9);
// kMxfp4, E2M1 codes with a power of two for each row and 32 inputs (specs/gpt_oss.md 3).
enum class DType : uint8_t { kF32, kBF16, kF16, kI32, kU8, kF8E4M3, kMxfp4 };
constexpr bool is_quantised(DType t) { return t == DType::kF8E4M3 || t == DType::kMxfp4; }

// Of one element; 0 for types whose elements have no bytes of their own.
constexpr size_t dtype_bytes(DType t) {
  switch (t) {
    case DType::kF32: case DType::kI32: return 4;
    case DType::kBF16: case DType::kF16: return 2;
    case DType::kU8: return 1;
    case DType::kF8E4M3: case DType::kMxfp4: return 0;
  }
  return 0;
}
constexpr const char* dtype_name(DType t) {
  switch (t) {
    case DType::kF32: return "float32";
    case DType::kBF16: return "bfloat16";
    case DType::kF16: return "float16";
    case DType::kI32: return "int32";
    case DType::kU8: return "uint8";
    case DType::kF8E4M3: return "float8_e4m3";
    case DType::kMxfp4: return "mxfp4";
  }
  return "?";
}

inline float bf16_to_f32(uint16_t v) { return std::bit_cast<float>(uint32_t(v) << 16); }
// Round to nearest even; NaN stays NaN.
inline uint16_t f32_to_bf16(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
// OCP E4M3: 4 exponent bits of bias 7, no infinity, 0x7f and 0xff are NaN.
inline float f8e4m3_to_f32(uint8_t v) {
  const int exponent = v >> 3 & 15, mantissa = v & 7;
  if ((v & 0x7f) == 0x7f) return std::bit_cast<float>(0x7fc00000u);
  const float m = exponent ? std::bit_cast<float>(uint32_t(exponent + 120) << 23 | uint32_t(mantissa) << 20) : float(mantissa) / 512.0f;
  return v & 0x80 ? -m : m;
}
inline float e2m1_to_f32(uint8_t nibble) {
  constexpr float kValue[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return nibble & 8 ? -kValue[nibble & 7] : kValue[nibble & 7];
}
// E8M0: 2^(v - 127).
inline float e8m0_to_f32(uint8_t v) { return v ? std::bit_cast<float>(uint32_t(v) << 23) : std::bit_cast<float>(0x00400000u); }
inline float f16_to_f32(uint16_t h) { return float(std::bit_cast<_Float16>(h)); }
inline uint16_t f32_to_f16(float f) { return std::bit_cast<uint16_t>(_Float16(f)); }

}  // namespace xylem
