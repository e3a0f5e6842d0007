#include "device/cpu/roof.h"

#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own intrinsics
#include <immintrin.h>
#endif

namespace xylem {
namespace {

// Independent sums: more than latency times instructions a cycle, and no more than there are registers.
constexpr int kChains = 16, kChainsAvx2 = 12;
constexpr size_t kAhead =
    8192;  // reading asks the second-level cache for what comes so many bytes later: up to a tenth faster
constexpr float kNearOne = 1.0f - 1e-6f;

typedef float Four __attribute__((vector_size(16)));
float read_plain(const std::byte* p, size_t bytes) {
  Four s[4] = {};
  for (size_t i = 0; i < bytes; i += 64)
    for (size_t j = 0; j < 4; j++) s[j] += *reinterpret_cast<const Four*>(p + i + 16 * j);
  return s[0][0] + s[1][0] + s[2][0] + s[3][0];
}
float f32_plain(int64_t rounds) {
  Four a[kChains / 2] = {}, x = {kNearOne, kNearOne, kNearOne, kNearOne};
  for (int64_t i = 0; i < rounds; i++)
    for (auto& v : a) v = v * x + x;
  float s = 0;
  for (auto& v : a) s += v[0];
  return s;
}

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
float read_avx2(const std::byte* p, size_t bytes) {
  __m256 s[8] = {};
  for (size_t i = 0; i < bytes; i += 256)
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) {
      if (j % 2 == 0) __builtin_prefetch(p + i + 32 * j + kAhead, 0, 2);
      s[j] = _mm256_xor_ps(s[j], _mm256_load_ps(reinterpret_cast<const float*>(p + i + 32 * j)));
    }
  for (int j = 1; j < 8; j++) s[0] = _mm256_xor_ps(s[0], s[j]);
  return s[0][0];
}
float f32_avx2(int64_t rounds) {
  __m256 a[kChainsAvx2], x = _mm256_set1_ps(kNearOne);
  for (auto& v : a) v = x;
  for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 16
    for (int j = 0; j < kChainsAvx2; j++) a[j] = _mm256_fmadd_ps(a[j], x, x);
  for (int j = 1; j < kChainsAvx2; j++) a[0] = _mm256_add_ps(a[0], a[j]);
  return a[0][0];
}
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
float read_avx512(const std::byte* p, size_t bytes) {
  __m512i s[8] = {};
  for (size_t i = 0; i < bytes; i += 512)
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) {
      __builtin_prefetch(p + i + 64 * j + kAhead, 0, 2);
      s[j] = _mm512_xor_si512(s[j], _mm512_load_si512(p + i + 64 * j));
    }
  for (int j = 1; j < 8; j++) s[0] = _mm512_xor_si512(s[0], s[j]);
  return float(s[0][0] & 0xff);
}
float f32_avx512(int64_t rounds) {
  __m512 a[kChains], x = _mm512_set1_ps(kNearOne);
  for (auto& v : a) v = x;
  for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 16
    for (int j = 0; j < kChains; j++) a[j] = _mm512_fmadd_ps(a[j], x, x);
  for (int j = 1; j < kChains; j++) a[0] = _mm512_add_ps(a[0], a[j]);
  return a[0][0];
}
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
float bf16_avx512(int64_t rounds) {
  __m512 a[kChains];
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-3f), _mm512_set1_ps(1e-3f));
  for (auto& v : a) v = _mm512_setzero_ps();
  for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 16
    for (int j = 0; j < kChains; j++) a[j] = _mm512_dpbf16_ps(a[j], x, x);
  for (int j = 1; j < kChains; j++) a[0] = _mm512_add_ps(a[0], a[j]);
  return a[0][0];
}
#pragma GCC pop_options
#endif

}  // namespace

RoofLoops roof_loops(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kAvx512Bf16:
      return {read_avx512, bf16_avx512, f32_avx512, 64.0 * kChains, 32.0 * kChains};
    case Isa::kAvx512:
      return {read_avx512, nullptr, f32_avx512, 0, 32.0 * kChains};
    case Isa::kAvx2:
      return {read_avx2, nullptr, f32_avx2, 0, 16.0 * kChainsAvx2};
    case Isa::kScalar:
      break;
  }
#endif
  (void)isa;
  return {read_plain, nullptr, f32_plain, 0, 4.0 * kChains};  // kChains / 2 vectors of 4, 2 operations each
}

}  // namespace xylem
