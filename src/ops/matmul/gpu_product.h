// The matrix products of an OpenCL device, for MatMul and for the experts of a mixture.
#pragma once
#include "device/opencl/opencl_rows.h"
#include "ops/act_mul/act_mul.h"

namespace xylem {

// Which of the kernels; each works on tasks of at most its rows (routed.clh).
enum class GpuForm { kGemv1, kGemv4, kGemv8, kTile, kMadSkinny, kMadSkinny2, kMad, kMmaFew32, kMmaFew64, kMmaMid, kMmaWide, kSkinny8, kSkinny16, kWide8, kWide16 };
int form_rows(GpuForm f);
bool form_suits(GpuForm f, DType weights, bool round_x);
bool form_runs(GpuForm f, DType weights, bool round_x, const OpenClInfo& d);  // the same, and the device can run it
bool runs_mma(const OpenClInfo& d);  // whether the kMma forms run at all; where they are emulated others are faster
// The kMma form for so many rows of one matrix, of `matrices` that are multiplied at a time.
GpuForm mma_form(int64_t rows, int64_t matrices, int64_t outputs, const OpenClInfo& d);
// Memory that the form needs for x rounded to bfloat16; 0: none.
size_t rounded_bytes(GpuForm f, int64_t x_rows, int64_t inputs);

enum class GpuRoute : int { kAll, kRow, kSorted };  // ROUTE_ of routed.clh

struct GpuProduct {
  Tensor x, w, bias, y;             // as of MatMul; w and bias also [E, N, K] and [E, N] f32 contiguous. Row r of y is from row r / x_div of x
  Tensor up;                        // of the gemv and wide forms, or empty: instead of x it is act(x) * up
  bool gated_y = false;             // of the wide forms: y is act(first half of the outputs) * second half
  Act act = Act::kSilu;
  float limit = 0;
  bool round_x = false;
  int rows = 0, x_div = 1;          // rows of y
  GpuRoute route = GpuRoute::kAll;
  Tensor ids;                       // kRow: [rows] i32, the matrix of each row
  void *order = nullptr, *tasks = nullptr;  // kSorted: int [rows], int4 [1 + n_tasks], on the device
  int n_tasks = 0;                  // kSorted: the most that there can be
  void* rounded = nullptr;          // rounded_bytes of x's rows; not needed with kAll
};
struct MatMul;
GpuProduct product_of(const MatMul& a);
// The skinny forms, matrix instructions too: for as few rows as reading weights takes the time.
void skinny_product(const GpuProduct& p, GpuForm form, OpenClDevice& g);
// The wide forms: the same for bf16 weights, kAll and at most form_rows, a work-group a compute unit; `up` as well.
void wide_product(const GpuProduct& p, GpuForm form, OpenClDevice& g);
// Enqueues the product, by any form. With kAll it may use the device's scratch.
void gpu_product(const GpuProduct& p, GpuForm form, OpenClDevice& g);

}  // namespace xylem
