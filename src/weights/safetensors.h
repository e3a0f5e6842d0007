// The tensors of a checkpoint folder: model.safetensors, or the shards that model.safetensors.index.json lists.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/dtype.h"
#include "weights/mapped_file.h"

namespace xylem {

struct StoredTensor {
  std::string name;
  std::string dtype;                  // as the file spells it: "BF16"
  std::optional<DType> type;          // set for the types that numbers can have: BF16, F16, F32, and F8_E4M3, which needs scales
  std::vector<int64_t> shape;         // product is known not to overflow
  const std::byte* data = nullptr;    // in file; any alignment
  int64_t bytes = 0;                  // equals shape x dtype for every type of known size
  const MappedFile* file = nullptr;
};
using TensorMap = std::map<std::string, StoredTensor, std::less<>>;

std::string shape_text(const std::vector<int64_t>& shape);  // "[512, 192]"

// Every tensor of one mapped file, checked: offsets inside the file, sizes as the shapes say, no name twice, no bytes shared.
// Entries point into `file`.
Result<TensorMap> parse_safetensors(const MappedFile& file);

// Owns the mappings. Movable; tensors stay where they are.
class TensorFiles {
 public:
  static bool present(const std::string& folder);  // there is something to open
  static Result<TensorFiles> open(const std::string& folder);
  const StoredTensor* find(std::string_view name) const;
  const TensorMap& tensors() const { return tensors_; }
  const std::string& origin() const { return origin_; }  // path of the file, or of the index: for messages
  // Gives up every mapping but those in `keep`.
  std::vector<std::unique_ptr<MappedFile>> release(const std::vector<const MappedFile*>& keep) &&;

 private:
  Status open_shards(const std::string& folder);
  std::string origin_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  TensorMap tensors_;
};

}  // namespace xylem
