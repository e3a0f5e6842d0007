// Rows of numbers as files store them -> the layouts of tensor.h.
#pragma once
#include <array>
#include <cstddef>

#include "tensor/tensor.h"

namespace xylem {

// n numbers of one float type -> another; src and dst of any alignment. Equal types are copied.
void convert_numbers(const std::byte* src, DType from, void* dst, DType to, int64_t n);
// n numbers a0 b0 a1 b1 ... -> a0 a1 ... b0 b1 ...
void deinterleave(const std::byte* src, DType type, int64_t n, void* dst);
// A row of k codes, each times the scale of its 128 inputs.
void dequantise_f8(const std::byte* codes, const float* scales, int64_t k, float* out);
bool has_f8_nan(const std::byte* codes, int64_t n);
bool all_finite(const float* v, int64_t n);

using PanelRows = std::array<const std::byte*, kPanel>;  // rows of k numbers each, of any alignment
// Writes the lines of one panel of a packed matrix, padding of an odd k included. Rows of quantised types are their codes; the
// scales behind the lines are not written.
void pack_panel(const PanelRows& rows, int64_t k, DType type, void* out);
// The scales of a panel of mxfp4, filled up; rows of `groups` bytes each. False if one of them means NaN.
bool pack_mxfp4_scales(const PanelRows& rows, int64_t groups, uint8_t* out);
// Inputs [k, k + count) of a packed matrix [n, K] of a float type, from rows that hold one input for each of its n outputs.
// k is even; an odd count ends the matrix.
void pack_inputs(const std::byte* const* rows, int64_t k, int64_t count, int64_t K, int64_t n, DType type, std::byte* out);

}  // namespace xylem
