// Launches of element-wise kernels: each work-group has a piece of one row (pieces.clh).
#pragma once
#include "device/opencl/opencl_rows.h"

namespace xylem {

struct Pieces {
  static constexpr int64_t kGroup = 256, kPiece = 4 * kGroup;  // WG and WG * EACH of pieces.clh
  int count = 1;   // of a row
  NDRange range;
  Pieces(int64_t rows, int64_t n) : count(int((n + kPiece - 1) / kPiece)), range{{size_t(rows * count), 1, 1}, size_t(kGroup)} {
    CHECK(rows * count < INT32_MAX, rows, n);
  }
};

}  // namespace xylem
