#pragma once
#include "ops/act_mul/act_mul.h"
namespace xylem {
// A product of one row and what stands between it and the product before, so that neither takes a launch of its own. With s the
// sum of the parts of x, and norms as those of ResidualNorm:
//   kSum     v = s
//   kGated   v = act(s) * up
//   kNormed  r = (norm(s, x_w) + from) * scale[0], v = norm(r, h_w); without a weight that norm is the number itself
// The parts of y add up to v W^T (+ bias): part p is of inputs [p, p + 1) * part_inputs(). With gated_y it is GateUp's y instead, in
// one part: act(first half of those) * second half.
struct FusedGemv {
  static constexpr const char* kName = "fused_gemv";
  enum class Input : int { kSum, kGated, kNormed };
  Input input = Input::kSum;
  Tensor x;         // [parts, K] f32, strided rows
  Tensor sum;       // [1, K] f32 or empty: s, for later calls
  Tensor up;        // [1, K] f32, of kGated
  Tensor x_w;       // [K] f32 or empty
  Tensor from, r;   // [1, K] f32, of kNormed: the stream before and after; not the same memory
  Tensor scale;     // [1] f32 or empty: 1
  Tensor h_w;       // [K] f32 or empty
  Tensor h;         // [1, K] f32 or empty: v, for later calls
  Tensor w;         // [N, K] packed bf16
  Tensor bias;      // [N] f32 or empty
  Tensor y;         // [parts, N] f32, strided rows; [1, N / 2] with gated_y
  bool gated_y = false;  // not with kGated
  Act act = Act::kSilu;
  float limit = 0;  // of kClampedSwiglu
  float eps = 1e-6f, w_offset = 0;
  bool round_x = false;  // v is rounded to bfloat16 where it is multiplied
  XYLEM_FIELDS(in(x), in(up), in(x_w), in(from), in(scale), in(h_w), in(w), in(bias), out(sum), out(r), out(h), out(y))

  int64_t inputs() const { return w.cols(); }
  // Whole kilobytes of a panel, so that every part but the last has as much.
  static int64_t part_inputs(int64_t inputs, int64_t parts) { return round_up((inputs + parts - 1) / parts, 256); }
};
// Ends the program unless every tensor fits the others.
void check(const FusedGemv& a);

// Over how many parts of K, at most 4, a device with so many work-groups at a time shares such a product best; each costs whoever adds them up.
int64_t fused_gemv_parts(int64_t outputs, int64_t inputs, int64_t groups);
}  // namespace xylem
