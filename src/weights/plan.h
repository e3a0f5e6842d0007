// Where every parameter of a model comes from and where it goes, decided before a byte of it is read.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "nn/model.h"
#include "weights/safetensors.h"

namespace xylem {

// A stored tensor whose rows become rows [first, first + rows) of a parameter, in order or as stored_row() says. Rows of a
// vector are its numbers; rows of [E, N, K] are counted through all experts.
struct SourceRows {
  int64_t first = 0, rows = 0;
  const StoredTensor* tensor = nullptr;
  DType type = DType::kF32;                 // of its numbers; kMxfp4: the tensor holds blocks of codes
  int64_t row_bytes = 0;                    // of one of its rows
  const StoredTensor* scales = nullptr;     // of kF8E4M3, a row for 128 rows of the tensor; of kMxfp4, a row for each
  int64_t matrix_rows = 0;                  // kF8E4M3: rows of one matrix of the tensor, whose blocks of 128 begin anew
};

struct Placement {
  const Param* param = nullptr;
  Tensor tensor;                    // type, layout and shape; data is null until the loader has memory
  int64_t row_numel = 1;            // numbers of one row: 1 for vectors and constants
  std::vector<SourceRows> sources;  // ascending, without gaps; empty for constants, random weights and aliases
  bool columns = false;             // packed, and rows of the (only) source are inputs: each holds a number for every output
  bool interleaved = false;         // rows of the (only) source alternate between the halves of a matrix; with `columns`, numbers of its rows do
  int piece = 0;                    // of the slab
  int64_t offset = 0;               // bytes from the start of that piece
  bool mapped = false;              // the tensor is the file itself
  bool alias = false;               // the tensor is *param->tied
};

struct WeightPlan {
  std::vector<Placement> placements;   // one for each parameter, in the model's order
  int64_t max_piece_bytes = INT64_MAX; // devices do not give all their memory in one piece; a larger tensor gets one of its own
  std::vector<int64_t> piece_bytes;    // of the slab
  int64_t slab_bytes = 0;              // resident: their sum
  int64_t mapped_bytes = 0;            // of tables that stay in the file
  int64_t parameters = 0;
  DType stored_type = DType::kBF16;    // of most bytes
  std::set<std::string, std::less<>> used;  // names of the file's tensors that have a place
  std::vector<std::string> notes;      // for the log
};

// Finds every parameter in the files. Errors name the tensor, what the file has and what the config asks for. `params` and
// `files` must outlive the plan. A kTied parameter with a tensor of its own in the file gets a place of its own: whether the
// bytes are the same is for the loader to see (make_alias).
Result<WeightPlan> plan_weights(const std::vector<Param>& params, const std::vector<std::string>& prefixes, const TensorFiles& files);
// Places for random weights: kBF16, or kMxfp4 and kF8E4M3 for those parameters that released checkpoints store so.
Result<WeightPlan> plan_dummy(const std::vector<Param>& params, DType type);
// Turns a kTied parameter with a place of its own into an alias.
void make_alias(WeightPlan& plan, Placement& p);
// The placement whose tensor `p` is tied to; null if it is not one of the plan.
const Placement* tied_target(const WeightPlan& plan, const Placement& p);
// Gives every placement that needs memory its place; sets the sums of bytes. Call again after make_alias.
void assign_offsets(WeightPlan& plan);

// Where a tensor of the files belongs: "model" if a parameter uses it, else the label of the first prefix in `labels`
// (Model::unused()) that fits, else "unused".
std::string tensor_group(const WeightPlan& plan, const std::string& name, const std::map<std::string, std::string>& labels);

}  // namespace xylem
