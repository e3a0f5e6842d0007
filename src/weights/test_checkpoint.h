// For the tests of this folder: writes safetensors files into a temporary folder, and a model made of any parameter list.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "nn/model.h"

namespace xylem::testing {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "xylem-weights-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // A new file each time: some file systems wait for the disk when one is overwritten.
  void write(const std::string& name, std::string_view bytes) const {
    std::filesystem::remove(file(name));
    std::ofstream(file(name), std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
  }

 private:
  std::string path_;
};

// Element i of the tensor made with `seed`: small whole numbers, exact in every float type.
inline float test_value(int seed, int64_t i) { return float((i * 37 + seed * 101) % 251 - 125); }

inline int64_t product(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

// One safetensors file in memory.
class FileBuilder {
 public:
  FileBuilder& add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape, int seed) {
    std::string bytes;
    for (int64_t i = 0; i < product(shape); i++) append(bytes, dtype, test_value(seed, i));
    return add_bytes(name, dtype, shape, bytes);
  }
  // Bytes as they are: codes, blocks, scales.
  FileBuilder& add_bytes(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape, std::string_view bytes) {
    const size_t begin = data_.size();
    data_ += bytes;
    std::string dims;
    for (int64_t d : shape) dims += (dims.empty() ? "" : ",") + std::to_string(d);
    return entry(name, "{\"dtype\":\"" + dtype + "\",\"shape\":[" + dims + "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(data_.size()) + "]}");
  }
  FileBuilder& entry(const std::string& name, const std::string& json) {
    header_ += (header_.empty() ? "\"" : ",\"") + name + "\":" + json;
    return *this;
  }
  // pad: blanks at the end of the header; decides how the data is aligned.
  std::string bytes(size_t pad = 0) const { return raw("{" + header_ + "}" + std::string(pad, ' '), data_); }
  // The header padded so that data starts at a multiple of 8 plus `shift`.
  std::string aligned_bytes(size_t shift = 0) const { return bytes((8 - (header_.size() + 2) % 8) % 8 + shift); }
  static std::string raw(const std::string& header, const std::string& data) {
    const uint64_t n = header.size();
    return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
  }

 private:
  static void append(std::string& out, const std::string& dtype, float v) {
    auto put = [&](auto bits) { out.append(reinterpret_cast<const char*>(&bits), sizeof bits); };
    if (dtype == "BF16") put(f32_to_bf16(v));
    else if (dtype == "F16") put(f32_to_f16(v));
    else if (dtype == "F32") put(v);
    else if (dtype == "F64") put(double(v));
    else put(int8_t(v));
  }
  std::string header_, data_;
};

// Counts and tensors for `declare` to bind; never runs.
class FakeModel final : public Model {
 public:
  explicit FakeModel(std::function<void(ParamList&)> declare, std::vector<std::string> prefixes = {""}) : declare_(std::move(declare)), prefixes_(std::move(prefixes)) {}
  const CacheLayout& caches() const override { return layout; }
  std::vector<Param> params() override {
    ParamList list;
    declare_(list);
    return list.take();
  }
  Tensor forward(Ctx&) const override { return {}; }
  int64_t vocab_size() const override { return 1; }
  int64_t max_context() const override { return 4096; }
  std::vector<std::string> prefixes() const override { return prefixes_; }
  std::map<std::string, std::string> unused() const override { return unused_labels; }

  CacheLayout layout{2};
  std::map<std::string, std::string> unused_labels;

 private:
  std::function<void(ParamList&)> declare_;
  std::vector<std::string> prefixes_;
};

// Element (n, k) of matrix e, whatever the layout.
inline float element(const Tensor& t, int64_t e, int64_t n, int64_t k) {
  if (t.layout == Layout::kPacked) return packed_value(t, e, n, k);
  return load_f32(t.data, (e * t.outputs() + n) * t.cols() + k, t.dtype);
}

// Rows [first, first + rows) of t hold the test tensor `seed`, from its row `from` on.
inline void expect_rows(const Tensor& t, int64_t e, int64_t first, int64_t rows, int seed, int64_t from = 0) {
  ASSERT_TRUE(t);
  for (int64_t n = 0; n < rows; n++)
    for (int64_t k = 0; k < t.cols(); k++)
      ASSERT_EQ(element(t, e, first + n, k), test_value(seed, (from + n) * t.cols() + k)) << "matrix " << e << " row " << first + n << " column " << k;
}

// Everything of a packed tensor beyond its rows and columns is zero.
inline void expect_zero_padding(const Tensor& t) {
  ASSERT_EQ(t.layout, Layout::kPacked);
  const int64_t N = t.outputs(), K = t.cols(), total = packed_numel(N, K, t.dtype);
  for (int64_t e = 0; e < (t.rank == 3 ? t.dim[0] : 1); e++) {
    std::vector<bool> used(size_t(total), false);
    for (int64_t n = 0; n < N; n++)
      for (int64_t k = 0; k < K; k++) used[size_t(packed_index(n, k, K, t.dtype))] = true;
    for (int64_t i = 0; i < total; i++) {
      const float v = used[size_t(i)] ? 0.0f : load_f32(t.data, e * total + i, t.dtype);
      ASSERT_EQ(v, 0.0f) << "matrix " << e << " element " << i;
    }
  }
}

}  // namespace xylem::testing
