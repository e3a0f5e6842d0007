// What a model is: parameters it wants, bytes it caches, and a forward pass. One file in models/ makes one.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cache/layout.h"
#include "nn/config.h"
#include "tensor/tensor.h"

namespace xylem {

struct Ctx;
class VisionTower;

// One tensor of the model, and where its numbers come from. One list serves loading, random weights, memory counts and dumps.
struct Param {
  enum class Kind : uint8_t {
    kVector,    // any float type and any shape in the file -> float32, contiguous
    kMatrix,    // [N, K] -> packed, in the stored type: the weight of a matrix product (rows are gathered from it as well)
    kTable,     // [N, K] -> rows as stored, only ever gathered from: stays mapped in the file where that is possible
    kExperts,   // [E, N, K] -> packed, one matrix after the other
    kHeads,     // some rows of each head of a stored matrix -> [H, n, K] packed, or transposed [H, K, n]; quantised ones as float32
    kConstant,  // computed from the config, not in the file: float32 or i32
    kTied,      // the same memory as another parameter, unless the file has its own
  };
  Kind kind = Kind::kVector;
  std::string name;               // in the checkpoint, behind the model's prefix (with a leading '/': without it); of the fused whole if there are parts
  Tensor* tensor = nullptr;       // filled by the loader; null: counted and checked only
  std::vector<int64_t> shape;
  // Rows of the whole (of a vector, numbers), one after the other, each under its own name: q, k, v -> qkv. Used when `name` is
  // not in the file.
  struct Part { std::string name; int64_t rows; };
  std::vector<Part> parts;        // for kExperts, names hold "{e}" for the expert
  // Other spellings: a name that holds the first text is also looked for with the second in its place.
  std::string also_from, also_to;
  bool input_first = false;       // kExperts: the file holds numbers as [E, K, N] (mxfp4 blocks always lie as [E, N, K / 32, 16])
  bool flat = false;              // kMatrix: dimensions of the file's tensor behind the first one are one: filters of patches
  bool interleaved = false;       // row 2j of the file (number of the last dimension, for a vector) is row j, row 2j + 1 is N / 2 + j
  struct HeadRows { int64_t rows = 0, first = 0; bool transposed = false; };
  HeadRows head;                  // kHeads: of each head's `rows` stored rows, those from `first` on
  std::vector<float> constant;    // kConstant
  DType constant_type = DType::kF32;  // or kI32: `constant` holds the bits
  const Tensor* tied = nullptr;   // kTied
  float scale = 1.0f;             // kVector: values are multiplied by this on loading
  float dummy_mean = 1.0f, dummy_spread = 0.05f;  // kVector: random weights are normal with this mean and deviation, before `scale`
  bool logits_only = false;       // its product runs only for rows whose logits are wanted, or for images: not a cost of a prompt's tokens
};

// Collects a model's parameters. What a method returns may be refined until the next call.
class ParamList {
 public:
  void vector(std::string name, Tensor& t, int64_t n, float scale = 1.0f) { add(Param::Kind::kVector, std::move(name), t, {n}).scale = scale; }
  // Numbers of any shape, random ones around zero. parts: as fused(), along the first dimension.
  Param& floats(std::string name, Tensor& t, std::vector<int64_t> shape, std::vector<Param::Part> parts = {});
  Param& matrix(std::string name, Tensor& t, int64_t n, int64_t k) { return add(Param::Kind::kMatrix, std::move(name), t, {n, k}); }
  void fused(std::string name, Tensor& t, int64_t k, std::vector<Param::Part> parts);  // parts without rows (0) are left out
  void table(std::string name, Tensor& t, int64_t n, int64_t k) { table(std::move(name), t, std::vector<int64_t>{n, k}); }
  void table(std::string name, Tensor& t, std::vector<int64_t> shape) { add(Param::Kind::kTable, std::move(name), t, std::move(shape)); }
  Param& experts(std::string name, Tensor& t, int64_t e, int64_t n, int64_t k, std::vector<Param::Part> parts);
  // Rows [head.first, head.first + n) of each of `heads` heads of the stored [heads * head.rows, k].
  void heads(std::string name, Tensor& t, int64_t heads, int64_t n, int64_t k, Param::HeadRows head);
  void constant(std::string name, Tensor& t, std::vector<float> values);
  void integers(std::string name, Tensor& t, const std::vector<int32_t>& values);
  void tied(std::string name, Tensor& t, int64_t n, int64_t k, const Tensor& to);
  // Of the parameters added from here on:
  void logits_only(bool on) { logits_only_ = on; }
  void also(std::string from, std::string to) { also_from_ = std::move(from), also_to_ = std::move(to); }
  std::vector<Param> take() { return std::move(list_); }

 private:
  Param& add(Param::Kind kind, std::string name, Tensor& t, std::vector<int64_t> shape);
  std::vector<Param> list_;
  bool logits_only_ = false;
  std::string also_from_, also_to_;
};

struct ModelOptions {
  DType kv_dtype = DType::kBF16;
  bool vision = true;  // false: without the vision tower, if the checkpoint has one
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const CacheLayout& caches() const = 0;
  virtual std::vector<Param> params() = 0;
  // Computes the step in c and returns logits [R, vocab] for c.batch.logit_rows, or an empty tensor when there are none.
  // Reads only the shapes of the batch, so that a dry pass can measure it.
  virtual Tensor forward(Ctx& c) const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t max_context() const = 0;                                  // tokens, of the config
  virtual std::vector<std::string> prefixes() const = 0;                    // of tensor names, the first that fits the file is used
  // What turns images into rows for tokens; null: the model takes none. Its parameters are among params().
  virtual const VisionTower* vision() const { return nullptr; }
  // The tokens of an image see each other in both directions in some layers: they are computed in one step (Batch::limits).
  virtual bool whole_images() const { return false; }
  // Positions that a token is rotated by: 1, or 3 (time, row, column; Batch::rope_positions).
  virtual int rope_axes() const { return 1; }
  // Why this model cannot run in float16, if so: "its activations ...".
  virtual std::string float16_problem() const { return {}; }
  // Tensors of the file that this model knows and does not use, by prefix: {"model.vision_tower.", "vision"}.
  virtual std::map<std::string, std::string> unused() const { return {}; }
};

struct ModelEntry {
  std::vector<std::string> architectures;  // of config.json
  std::vector<std::string> model_types;
  std::unique_ptr<Model> (*make)(const Config&, const ModelOptions&);
  std::vector<std::string> tiny_configs;   // JSON: small shapes for the automatic tests, one for each variant
};
std::vector<ModelEntry>& model_registry();
struct RegisterModel {
  explicit RegisterModel(ModelEntry e) { model_registry().push_back(std::move(e)); }
};
// The model of a parsed config.json. An unknown architecture lists the known ones; a wrong config names the key.
Result<std::unique_ptr<Model>> make_model(const Config& config, const ModelOptions& options);
std::string architecture_of(const Config& config);  // the first of its architectures, else its model_type

// Numbers of a parameter list.
int64_t count_parameters(const std::vector<Param>& params);
// Of the matrices that every token of a prompt is multiplied with; of experts, all.
int64_t prompt_matrix_parameters(const std::vector<Param>& params);

}  // namespace xylem
