#pragma once
#include <array>

#include "device/op.h"
namespace xylem {
// y[t, :] = table[ids[t], :] * scale.  Ids outside [0, N) give zeros. An id among aliases is taken for alias_of first.
struct Gather {
  static constexpr const char* kName = "gather";
  Tensor table;  // [N, K] any float type, strided or packed
  Tensor ids;    // [T] i32
  Tensor y;      // [T, K] f32
  float scale = 1.0f;
  std::array<int32_t, 3> aliases{-1, -1, -1};  // ids that stand for alias_of; -1: none
  int32_t alias_of = 0;
  XYLEM_FIELDS(in(table), in(ids), out(y))
};
// Ends the program unless every tensor fits the others.
void check(const Gather& a);
}  // namespace xylem
