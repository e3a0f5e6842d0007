// The inner loops of a matrix product for one instruction set, one kind of weights and one kind of activations: what the
// drivers (matmul_product.cpp, moe.cpu.cpp) call. The inner loops know no threads and no op.
//
// Order of summation, the same for every tile, row count, panel count and thread count of one Micro: inputs are cut into
// blocks of kBlockK; a block is summed from zero in rising k; the blocks' sums are added in rising order, then the bias.
// So one row's result is bit-identical whatever other rows are in the batch and however the work is cut.
#pragma once
#include <cstddef>
#include <cstdint>

#include "device/cpu/cpu_device.h"
#include "ops/act_mul/act_mul.h"

namespace xylem {

// 3 panels x 256 inputs of 16-bit weights are 24 KiB: with 4 KiB of activations they stay in a first-level cache of 32 KiB.
constexpr int64_t kBlockK = 256;

struct TileArgs {
  const void* x;       // the rows of one K block, kBlockK elements apart
  const std::byte* w;  // the first panel, at this K block
  size_t w_stride;     // bytes from panel to panel
  const std::byte* next_w;  // the tile's weights that are read after these: prefetched, same w_stride. Never null.
  int64_t steps;       // lines of 64 (float32) or 2 x 32 bytes: kBlockK / pack_width, less in the last block
  const float* c_in;   // [rows, panels * 16], sum of the earlier blocks; null in the first one
  int64_t c_in_stride;
  float* c_out;        // may be c_in
  int64_t c_out_stride;
  int64_t cols;        // columns of c_out that exist, <= panels * 16; c_in has all
  const float* bias;   // [cols], added last, or null
};

struct RowArgs {
  const void* x;       // one row: K blocks, x_stride elements apart
  int64_t x_stride;
  const std::byte* w;  // contiguous panels
  int64_t K;
  float* y;            // [cols]
  int64_t cols;
  const float* bias;
};

struct Micro {
  int rows, panels;  // of the largest tile
  size_t x_bytes;    // of one packed activation: 2 (bfloat16) or 4
  void (*pack)(const float* x, int64_t n, void* out);  // n <= kBlockK values; one zero after an odd n
  void (*tile)(int rows, int panels, const TileArgs& a);
  void (*row)(const RowArgs& a);
  void (*act_mul)(Act act, const float* gate, const float* up, float* y, int64_t n);  // y = act(gate) * up
};

// The fastest one for this instruction set.
const Micro& find_micro(Isa isa, DType weights, bool round_x);

// Tables by [weights: bf16, f16, f32][round_x], defined in matmul.<isa>.cpu.cpp.
struct MicroTable { const Micro* at[3][2]; };
const MicroTable& portable_micros();
const MicroTable& avx2_micros();
const MicroTable& avx512_micros();
const Micro& avx512_bf16_micro();  // bf16 weights, round_x

}  // namespace xylem
