#include "weights/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>

namespace xylem {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and used in place");

const std::string kSingle = "model.safetensors", kIndex = "model.safetensors.index.json";
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation

using simdjson::SUCCESS;
using Json = simdjson::dom::element;

// Bytes of one element; 0 for types this reader does not know, whose size is not checked.
int64_t element_bytes(std::string_view dtype) {
  static const std::map<std::string_view, int64_t> sizes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"U16", 2}, {"I16", 2},
      {"F16", 2},  {"BF16", 2}, {"U32", 4}, {"I32", 4},     {"F32", 4},     {"U64", 8},     {"I64", 8}, {"F64", 8}};
  const auto it = sizes.find(dtype);
  return it == sizes.end() ? 0 : it->second;
}

std::optional<DType> weight_type(std::string_view dtype) {
  if (dtype == "BF16") return DType::kBF16;
  if (dtype == "F16") return DType::kF16;
  if (dtype == "F32") return DType::kF32;
  if (dtype == "F8_E4M3") return DType::kF8E4M3;
  return {};
}

// Names come from the file: long ones and control characters must not spoil a message.
std::string quote(std::string_view name) {
  std::string s = "'";
  for (char c : name.substr(0, 200)) s += (uint8_t(c) < 0x20 || c == 0x7f) ? '?' : c;
  return s + (name.size() > 200 ? "...'" : "'");
}

struct Header {
  const MappedFile& file;
  uint64_t data_begin, data_bytes;  // of the data section
  Error bad(std::string_view tensor, const std::string& what) const {
    return invalid(file.path() + ": tensor " + quote(tensor) + " " + what);
  }
};

Result<std::vector<int64_t>> parse_shape(const Header& h, std::string_view name, Json value) {
  simdjson::dom::array dims;
  if (value.get_array().get(dims) != SUCCESS) return h.bad(name, "has no list of dimensions as 'shape'.");
  std::vector<int64_t> shape;
  int64_t product = 1;
  for (Json d : dims) {
    int64_t n = 0;
    if (d.get_int64().get(n) != SUCCESS || n < 0) return h.bad(name, "has a dimension that is not a whole number >= 0.");
    if (__builtin_mul_overflow(product, std::max<int64_t>(n, 1), &product)) return h.bad(name, "has a shape that is too large.");
    shape.push_back(n);
  }
  return shape;
}

Result<StoredTensor> parse_entry(const Header& h, std::string_view name, Json value) {
  simdjson::dom::object entry;
  Json field;
  std::string_view dtype;
  if (value.get_object().get(entry) != SUCCESS) return h.bad(name, "is not described by a JSON object.");
  if (entry.at_key("dtype").get_string().get(dtype) != SUCCESS) return h.bad(name, "has no 'dtype'.");
  if (entry.at_key("shape").get(field) != SUCCESS) return h.bad(name, "has no 'shape'.");
  TRY(std::vector<int64_t> shape, parse_shape(h, name, field));

  simdjson::dom::array offsets;
  uint64_t begin = 0, end = 0;
  if (entry.at_key("data_offsets").get_array().get(offsets) != SUCCESS || offsets.size() != 2 ||
      offsets.at(0).get_uint64().get(begin) != SUCCESS || offsets.at(1).get_uint64().get(end) != SUCCESS || begin > end)
    return h.bad(name, "has no valid 'data_offsets' [begin, end].");
  if (end > h.data_bytes)
    return h.bad(name, "needs " + std::to_string(end) + " bytes of data, the file holds " + std::to_string(h.data_bytes) +
                           ": it is truncated. Download it again.");

  int64_t expected = element_bytes(dtype);
  const bool sized = expected > 0;
  for (int64_t d : shape)
    if (__builtin_mul_overflow(expected, d, &expected)) return h.bad(name, "has a shape that is too large.");
  if (sized && uint64_t(expected) != end - begin)
    return h.bad(name, "of type " + std::string(dtype) + " and shape " + shape_text(shape) + " needs " + std::to_string(expected) +
                           " bytes, its data_offsets give " + std::to_string(end - begin) + ".");
  return StoredTensor{std::string(name), std::string(dtype.substr(0, 40)), weight_type(dtype), std::move(shape),
                      h.file.data() + h.data_begin + begin, int64_t(end - begin), &h.file};
}

Status check_disjoint(const MappedFile& file, const TensorMap& tensors) {
  std::vector<const StoredTensor*> order;
  for (const auto& [name, t] : tensors)
    if (t.bytes) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->data < b->data; });
  for (size_t i = 1; i < order.size(); i++)
    if (order[i - 1]->data + order[i - 1]->bytes > order[i]->data)
      return invalid(file.path() + ": tensors " + quote(order[i - 1]->name) + " and " + quote(order[i]->name) + " share bytes of the file.");
  return {};
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); i++) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

Result<TensorMap> parse_safetensors(const MappedFile& file) {
  const size_t size = file.size();
  if (size < 8) return invalid(file.path() + ": is not a safetensors file: it has " + std::to_string(size) + " bytes.");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  if (header_bytes > kMaxHeaderBytes)
    return invalid(file.path() + ": is not a safetensors file: its header would have " + std::to_string(header_bytes) + " bytes.");
  if (header_bytes > size - 8)
    return invalid(file.path() + ": is truncated: its header needs " + std::to_string(header_bytes) + " bytes, the file holds " +
                   std::to_string(size - 8) + ". Download it again.");
  const Header h{file, 8 + header_bytes, size - 8 - header_bytes};

  simdjson::dom::parser parser;
  simdjson::dom::object root;
  const simdjson::padded_string text(reinterpret_cast<const char*>(file.data()) + 8, header_bytes);
  if (const auto error = parser.parse(text).get_object().get(root); error != SUCCESS)
    return invalid(file.path() + ": its header is not a JSON object: " + simdjson::error_message(error) + ".");
  TensorMap tensors;
  for (const auto& [name, value] : root) {
    if (name == "__metadata__") continue;
    TRY(StoredTensor t, parse_entry(h, name, value));
    if (!tensors.emplace(std::string(name), std::move(t)).second) return h.bad(name, "is listed twice.");
  }
  TRY_VOID(check_disjoint(file, tensors));
  return tensors;
}

namespace {

// tensor name -> shard, as model.safetensors.index.json says. Shards are plain names of files in the folder.
Result<std::map<std::string, std::string>> parse_index(const MappedFile& file) {
  simdjson::dom::parser parser;
  simdjson::dom::object root, weight_map;
  const simdjson::padded_string text(reinterpret_cast<const char*>(file.data()), file.size());
  if (const auto error = parser.parse(text).get_object().get(root); error != SUCCESS)
    return invalid(file.path() + ": is not a JSON object: " + simdjson::error_message(error) + ".");
  if (root.at_key("weight_map").get_object().get(weight_map) != SUCCESS) return invalid(file.path() + ": has no object 'weight_map'.");
  std::map<std::string, std::string> shards;
  for (const auto& [name, value] : weight_map) {
    std::string_view shard;
    if (value.get_string().get(shard) != SUCCESS) return invalid(file.path() + ": the file of tensor " + quote(name) + " is not a string.");
    const bool plain = !shard.empty() && shard != "." && shard != ".." && shard.find_first_of(std::string_view("/\\\0", 3)) == shard.npos;
    if (!plain)
      return invalid(file.path() + ": tensor " + quote(name) + " is said to be in " + quote(shard) + ", which is not the name of a file in the folder.");
    if (!shards.emplace(name, shard).second) return invalid(file.path() + ": tensor " + quote(name) + " is listed twice.");
  }
  return shards;
}

// What the folder holds instead of safetensors, to make the error helpful.
std::string other_weights(const std::string& folder) {
  std::string found;
  int count = 0;
  std::error_code ec;
  for (std::filesystem::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string name = it->path().filename().string(), ext = it->path().extension().string();
    if ((ext == ".bin" || ext == ".gguf" || ext == ".pt" || ext == ".pth" || ext == ".safetensors") && ++count <= 3)
      found += (found.empty() ? "" : ", ") + name;
  }
  return found.empty() ? "" : " It holds " + found + ", which is not read.";
}

}  // namespace

Status TensorFiles::open_shards(const std::string& folder) {
  TRY(std::unique_ptr<MappedFile> index, MappedFile::open(origin_));
  TRY(auto shards, parse_index(*index));
  std::map<std::string, TensorMap> by_shard;
  for (const auto& [name, shard] : shards) {
    auto it = by_shard.find(shard);
    if (it == by_shard.end()) {
      auto file = MappedFile::open(folder + "/" + shard);
      if (!file.ok()) return Error{file.error().code, file.error().text + " (named by " + origin_ + ")"};
      TRY(TensorMap tensors, parse_safetensors(**file));
      files_.push_back(*std::move(file));
      it = by_shard.emplace(shard, std::move(tensors)).first;
    }
    auto t = it->second.find(name);
    if (t == it->second.end())
      return not_found(folder + "/" + shard + ": has no tensor " + quote(name) + ", which " + origin_ + " says is there.");
    tensors_.emplace(name, std::move(t->second));
  }
  return {};
}

bool TensorFiles::present(const std::string& folder) {
  std::error_code ec;
  return std::filesystem::exists(folder + "/" + kSingle, ec) || std::filesystem::exists(folder + "/" + kIndex, ec);
}

Result<TensorFiles> TensorFiles::open(const std::string& folder) {
  TensorFiles f;
  if (!present(folder)) return not_found(folder + ": has neither " + kSingle + " nor " + kIndex + "." + other_weights(folder));
  std::error_code ec;
  f.origin_ = folder + "/" + kSingle;
  if (!std::filesystem::exists(f.origin_, ec)) {
    f.origin_ = folder + "/" + kIndex;
    TRY_VOID(f.open_shards(folder));
    return f;
  }
  TRY(std::unique_ptr<MappedFile> file, MappedFile::open(f.origin_));
  TRY(f.tensors_, parse_safetensors(*file));
  f.files_.push_back(std::move(file));
  return f;
}

const StoredTensor* TensorFiles::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

std::vector<std::unique_ptr<MappedFile>> TensorFiles::release(const std::vector<const MappedFile*>& keep) && {
  std::erase_if(files_, [&](const auto& f) { return std::find(keep.begin(), keep.end(), f.get()) == keep.end(); });
  tensors_.clear();
  return std::move(files_);
}

}  // namespace xylem
