#pragma once
#include "device/op.h"
namespace xylem {
// y[t, :] = table[ids[t], :] * scale.  Ids outside [0, N) give zeros.
struct Gather {
  static constexpr const char* kName = "gather";
  Tensor table;  // [N, K] any float type, strided or packed
  Tensor ids;    // [T] i32
  Tensor y;      // [T, K] f32
  float scale = 1.0f;
  XYLEM_FIELDS(in(table), in(ids), out(y))
};
}  // namespace xylem
