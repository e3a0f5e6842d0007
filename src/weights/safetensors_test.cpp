#include "weights/safetensors.h"

#include <sys/stat.h>

#include <random>

#include "weights/test_checkpoint.h"

namespace xylem {
namespace {

using testing::FileBuilder;
using testing::TempDir;

// The error of a folder whose model.safetensors has these bytes; "" if it opens.
std::string open_error(const TempDir& dir, const std::string& bytes) {
  dir.write("model.safetensors", bytes);
  const auto files = TensorFiles::open(dir.path());
  return files.ok() ? "" : files.error().text;
}

std::string header_error(const std::string& header, size_t data_bytes = 64) {
  const TempDir dir;
  return open_error(dir, FileBuilder::raw(header, std::string(data_bytes, 'x')));
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

TEST(Safetensors, ReadsNamesTypesShapesAndData) {
  const TempDir dir;
  dir.write("model.safetensors", FileBuilder()
                                     .entry("__metadata__", R"({"format":"pt"})")
                                     .add("a", "BF16", {2, 3}, 1)
                                     .add("scalar", "F32", {}, 2)
                                     .add("empty", "F16", {0, 4}, 3)
                                     .add("bytes", "I8", {5}, 4)
                                     .bytes());
  auto files = TensorFiles::open(dir.path());
  ASSERT_TRUE(files.ok()) << files.error().text;
  EXPECT_EQ(files->tensors().size(), 4u);
  const StoredTensor* a = files->find("a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(a->type, DType::kBF16);
  EXPECT_EQ(a->bytes, 12);
  uint16_t last;
  std::memcpy(&last, a->data + 10, 2);
  EXPECT_EQ(bf16_to_f32(last), testing::test_value(1, 5));
  EXPECT_EQ(files->find("scalar")->shape.size(), 0u);
  EXPECT_EQ(files->find("scalar")->bytes, 4);
  EXPECT_EQ(files->find("empty")->bytes, 0);
  EXPECT_FALSE(files->find("bytes")->type);
  EXPECT_EQ(files->find("b"), nullptr);
}

// Types nobody knows are no reason to refuse a file: their tensors may be of no interest.
TEST(Safetensors, UnknownTypeIsKept) {
  EXPECT_EQ(header_error(R"({"a":{"dtype":"F4_X","shape":[3,3],"data_offsets":[0,5]}})"), "");
}

TEST(Safetensors, RefusesBadEntries) {
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,80]}})"), "'w' needs 80 bytes of data, the file holds 64");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,12]}})"), "shape [4] needs 16 bytes, its data_offsets give 12");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})"), "data_offsets");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}})"), "data_offsets");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0]}})"), "data_offsets");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,18446744073709551615]}})"), "needs 18446744073709551615 bytes");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,99999999999999999999]}})"), "not a JSON object");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})"), "dimension");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,16]}})"), "dimension");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","shape":4,"data_offsets":[0,16]}})"), "shape");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F32","data_offsets":[0,16]}})"), "shape");
  EXPECT_PRED2(has, header_error(R"({"w":{"shape":[4],"data_offsets":[0,16]}})"), "dtype");
  EXPECT_PRED2(has, header_error(R"({"w":7})"), "'w' is not described");
}

TEST(Safetensors, RefusesOverflowingShapes) {
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"), "too large");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})"), "too large");
  EXPECT_PRED2(has, header_error(R"({"w":{"dtype":"ODD","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})"), "too large");
}

TEST(Safetensors, RefusesOverlapAndDuplicates) {
  EXPECT_PRED2(has, header_error(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[7,15]}})"), "'a' and 'b' share");
  EXPECT_PRED2(has, header_error(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})"), "'a' is listed twice");
}

TEST(Safetensors, RefusesBadHeaders) {
  const TempDir dir;
  EXPECT_PRED2(has, open_error(dir, ""), "it has 0 bytes");
  EXPECT_PRED2(has, open_error(dir, "1234567"), "it has 7 bytes");
  EXPECT_PRED2(has, open_error(dir, std::string(8, '\xff') + "{}"), "header would have 18446744073709551615 bytes");
  EXPECT_PRED2(has, open_error(dir, std::string("\x10\0\0\0\0\0\0\0{}", 10)), "header needs 16 bytes, the file holds 2");
  EXPECT_PRED2(has, open_error(dir, std::string(8, '\0')), "not a JSON object");
  EXPECT_PRED2(has, header_error("[1]"), "not a JSON object");
  EXPECT_PRED2(has, header_error("{\"a\":"), "not a JSON object");
  EXPECT_PRED2(has, header_error("{\"\xff\":1}"), "not a JSON object");
  EXPECT_PRED2(has, header_error(std::string(100000, '[')), "not a JSON object");
  std::string deep = R"({"w":{"dtype":"U8","data_offsets":[0,1],"shape":)" + std::string(5000, '[') + std::string(5000, ']') + "}}";
  EXPECT_NE(header_error(deep), "");
}

TEST(Safetensors, MessagesHideControlCharacters) {
  const std::string error = header_error("{\"a\\u001b[2J\":7}");
  EXPECT_EQ(error.find('\x1b'), error.npos);
}

// Whatever the place where a download stopped: an error that names the file, never a crash.
TEST(Safetensors, TruncatedAtEveryByte) {
  const TempDir dir;
  const std::string whole = FileBuilder().add("first", "BF16", {4, 4}, 1).add("second", "F32", {3}, 2).add("third", "F16", {7}, 3).bytes();
  ASSERT_EQ(open_error(dir, whole), "");
  for (size_t n = 0; n < whole.size(); n++) {
    const std::string error = open_error(dir, whole.substr(0, n));
    ASSERT_PRED2(has, error, dir.file("model.safetensors"));
    if (n + 14 >= whole.size()) {
      ASSERT_PRED2(has, error, "'third' needs 58 bytes of data, the file holds " + std::to_string(58 - (whole.size() - n)));
    }
  }
}

TEST(Safetensors, FuzzedHeaders) {
  const TempDir dir;
  const std::string good = FileBuilder().add("one", "BF16", {4, 4}, 1).add("two", "F32", {3}, 2).add("three", "F16", {7}, 3).bytes();
  const std::vector<std::string> pieces = {"-1", "99999999999", "9223372036854775807", "1e300", "null", "[]", "{}", "\"", "}", "[", ",", "\\u0000", "18446744073709551615", "0"};
  std::mt19937 random(7);
  int opened = 0;
  for (int round = 0; round < 6000; round++) {
    std::string s = good;
    for (int edits = 1 + int(random() % 3); edits > 0; edits--) {
      const size_t at = random() % (s.size() - 58);
      if (random() % 2) s[at] = char(random());
      else s.replace(at, random() % 4, pieces[random() % pieces.size()]);
    }
    if (random() % 2) {  // keep the length right, so that the edit is seen by the parser of the JSON
      const uint64_t n = s.size() - 8 - 58;
      std::memcpy(s.data(), &n, 8);
    }
    dir.write("model.safetensors", s);
    const auto files = TensorFiles::open(dir.path());
    if (!files.ok()) continue;
    opened++;
    unsigned sum = 0;  // everything a parsed tensor promises can be read
    for (const auto& [name, t] : files->tensors())
      for (int64_t i = 0; i < t.bytes; i++) sum += unsigned(t.data[i]);
    ASSERT_GE(sum, 0u);
  }
  EXPECT_GT(opened, 10);
}

class Sharded : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_.write("part-a.safetensors", FileBuilder().add("x", "F32", {2}, 1).add("stray", "F32", {2}, 9).bytes());
    dir_.write("part-b.safetensors", FileBuilder().add("y", "F32", {2}, 2).bytes());
  }
  std::string index_error(const std::string& index) {
    dir_.write("model.safetensors.index.json", index);
    const auto files = TensorFiles::open(dir_.path());
    return files.ok() ? "" : files.error().text;
  }
  TempDir dir_;
};

TEST_F(Sharded, FollowsWeightMap) {
  EXPECT_EQ(index_error(R"({"metadata":{"total_size":16},"weight_map":{"x":"part-a.safetensors","y":"part-b.safetensors"}})"), "");
  auto files = TensorFiles::open(dir_.path());
  ASSERT_TRUE(files.ok());
  EXPECT_EQ(files->tensors().size(), 2u);
  EXPECT_EQ(files->find("y")->file->path(), dir_.file("part-b.safetensors"));
}

TEST_F(Sharded, NamesMissingFilesAndTensors) {
  EXPECT_PRED2(has, index_error(R"({"weight_map":{"x":"part-a.safetensors","y":"part-c.safetensors"}})"), "part-c.safetensors: cannot be opened");
  EXPECT_PRED2(has, index_error(R"({"weight_map":{"x":"part-b.safetensors"}})"), "part-b.safetensors: has no tensor 'x'");
  EXPECT_PRED2(has, index_error(R"({"metadata":{}})"), "weight_map");
  EXPECT_PRED2(has, index_error(R"({"weight_map":{"x":1}})"), "'x' is not a string");
  EXPECT_PRED2(has, index_error(R"({"weight_map":{"x":"part-a.safetensors","x":"part-b.safetensors"}})"), "listed twice");
  EXPECT_PRED2(has, index_error("{"), "not a JSON object");
}

TEST_F(Sharded, RefusesPathsOutOfTheFolder) {
  for (const char* path : {"../part-a.safetensors", "/etc/passwd", "..", ".", "", "sub/part-a.safetensors", "a\\\\b", "part-a.safetensors\\u0000x"})
    EXPECT_PRED2(has, index_error(std::string(R"({"weight_map":{"x":")") + path + "\"}}"), "not the name of a file in the folder");
}

TEST(Safetensors, EmptyFolderSaysWhatIsWanted) {
  const TempDir dir;
  EXPECT_PRED2(has, TensorFiles::open(dir.path()).error().text, "has neither model.safetensors nor");
  dir.write("pytorch_model.bin", "x");
  EXPECT_PRED2(has, TensorFiles::open(dir.path()).error().text, "pytorch_model.bin, which is not read");
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  const TempDir dir;
  std::filesystem::create_directory(dir.file("model.safetensors"));
  EXPECT_PRED2(has, TensorFiles::open(dir.path()).error().text, "is not a file");
  std::filesystem::remove(dir.file("model.safetensors"));
  ASSERT_EQ(mkfifo(dir.file("model.safetensors").c_str(), 0600), 0);
  EXPECT_PRED2(has, TensorFiles::open(dir.path()).error().text, "is not a file");
}

}  // namespace
}  // namespace xylem
