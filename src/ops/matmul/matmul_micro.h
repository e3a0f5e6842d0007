// The inner loops of a matrix product for one instruction set, one kind of weights and one kind of activations: what
// the drivers (matmul_product.cpp, moe.cpu.cpp) call. The inner loops know no threads and no op.
//
// Order of summation, the same for every tile, row count, panel count and thread count of one Micro: inputs are cut
// into blocks of kBlockK; a block is summed from zero in rising k; the blocks' sums are added in rising order, then the
// bias. Weights with scales are summed by groups of inputs that share one: a group from zero in rising k, its sum times
// the scale is added to the groups' before it by one multiply-add. So one row's result is bit-identical whatever other
// rows are in the batch and however the work is cut.
#pragma once
#include <cstddef>
#include <cstdint>

#include "device/cpu/cpu_device.h"

namespace xylem {

// 3 panels x 256 inputs of 16-bit weights are 24 KiB: with 4 KiB of activations they stay in a first-level cache of 32
// KiB.
constexpr int64_t kBlockK = 256;
// Of a panel's scales, those of one K block, for every type that has any.
constexpr size_t kBlockScaleBytes = 128;
static_assert(kBlockK / kMxfp4Group * kPanel == kBlockScaleBytes &&
              kBlockK / kF8Group * kPanel * 4 == kBlockScaleBytes);

struct TileArgs {
  const void* x;            // the rows of one K block, kBlockK elements apart
  const std::byte* w;       // the first panel, at this K block
  size_t w_stride;          // bytes from panel to panel
  const std::byte* scales;  // of the first panel, at this K block; null where weights have none
  size_t scale_stride;
  const std::byte* next;  // prefetched, a line of each of next_panels panels every step
  size_t next_stride;
  const std::byte* next_scales;  // likewise, kBlockScaleBytes of each panel
  int next_panels;               // may be 0
  int64_t steps;                 // lines of 64 bytes: kBlockK / pack_width, less in the last block
  const float* c_in;             // [rows, panels * 16], sum of the earlier blocks; null in the first one
  int64_t c_in_stride;
  float* c_out;  // may be c_in
  int64_t c_out_stride;
  int64_t cols;       // columns of c_out that exist, <= panels * 16; c_in has all
  const float* bias;  // [cols], added last, or null
};

struct RowArgs {
  const void* x;  // one row: K blocks, x_stride elements apart
  int64_t x_stride;
  const std::byte* w;  // contiguous panels, each with its scales
  int64_t K;
  float* y;  // [cols]
  int64_t cols;
  const float* bias;
};

struct Micro {
  int rows, panels;                                    // of the largest tile
  size_t x_bytes;                                      // of one packed activation: 2 (bfloat16) or 4
  void (*pack)(const float* x, int64_t n, void* out);  // n <= kBlockK values; zeros up to a whole line of weights
  void (*tile)(int rows, int panels, const TileArgs& a);
  void (*row)(const RowArgs& a);
  // For many rows, smaller weights whose products are of float32: a block is widened once, [inputs][16], then read by
  // tiles of float32 weights (and its scales) with the same results. Null where this gains nothing.
  void (*widen)(const std::byte* w, int64_t lines, float* out);
  void (*wide_tile)(int rows, int panels, const TileArgs& a);
};

// vdpbf16ps beats float32 multiply-add twice on Zen 4; on Intel's cores it is half as fast as two of those, which need
// only the widening of weights besides. (Measured on Emerald Rapids: 92 and 186 GFLOP/s a core.)
bool prefers_bf16_dots();
inline int bf16_dots_priority() { return prefers_bf16_dots() ? 40 : 25; }  // avx512 has 30

// Tables by [type of the weights][round_x], defined in matmul.<isa>.cpu.cpp.
struct MicroTable {
  const Micro* at[size_t(DType::kMxfp4) + 1][2];
};
const MicroTable& portable_micros();
const MicroTable& avx2_micros();
const MicroTable& avx512_micros();
const Micro& avx512_bf16_micro();  // bf16 weights, round_x

}  // namespace xylem
