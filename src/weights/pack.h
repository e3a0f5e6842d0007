// Rows of numbers as files store them -> the layouts of tensor.h.
#pragma once
#include <array>
#include <cstddef>

#include "tensor/tensor.h"

namespace xylem {

// n numbers of one float type -> another; src and dst of any alignment. Equal types are copied.
void convert_numbers(const std::byte* src, DType from, void* dst, DType to, int64_t n);

using PanelRows = std::array<const std::byte*, kPanel>;  // rows of k numbers each, of any alignment
// Writes one panel of a packed matrix, padding of an odd k included: kPanel * round_up(k, pack_width) numbers of `type`.
void pack_panel(const PanelRows& rows, int64_t k, DType type, void* out);

}  // namespace xylem
