#include "server/model_context.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "server/test_support.h"

namespace xylem {
namespace {

TEST(ModelContext, ReadsTheDemoModel) {
  auto loaded = load_model_context(XYLEM_SOURCE_DIR "/models/demo");
  ASSERT_TRUE(loaded.ok()) << loaded.error().text;
  EXPECT_EQ(loaded->eos_ids, (std::vector<TokenId>{1, 5})) << "generation_config.json wins";
  EXPECT_EQ(loaded->defaults.temperature, 0.0f) << "do_sample is false";
  EXPECT_FALSE(loaded->defaults.top_p);
  ASSERT_TRUE(loaded->chat_template);
}

class FolderTest : public testing::Test {
 protected:
  FolderTest() {
    std::filesystem::create_directories(folder_);
    put("tokenizer.json", byte_tokenizer_json());
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }
  void put(const char* name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  Result<ModelContext> load(const std::string& chat_template = "") {
    return load_model_context(folder_.string(), chat_template);
  }
  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() /
      ("xylem_" + std::to_string(getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(FolderTest, FallsBackForEosIds) {
  put("tokenizer_config.json", R"({"eos_token": "<eos>"})");
  EXPECT_EQ(load()->eos_ids, (std::vector<TokenId>{257}));
  put("config.json", R"({"text_config": {"eos_token_id": 7}})");
  EXPECT_EQ(load()->eos_ids, (std::vector<TokenId>{7}));
  put("generation_config.json",
      R"({"eos_token_id": [8, 9], "suppress_tokens": [3], "temperature": 0.7, "top_k": 64, "do_sample": true})");
  EXPECT_EQ(load()->eos_ids, (std::vector<TokenId>{8, 9}));
  EXPECT_EQ(load()->suppress_ids, (std::vector<TokenId>{3}));
  EXPECT_EQ(load()->defaults.temperature, 0.7f);
  EXPECT_EQ(load()->defaults.top_k, 64);
}

TEST_F(FolderTest, TemplateIsOptionalAndCanBeReplaced) {
  EXPECT_EQ(load()->chat_template, nullptr);
  put("mine.jinja", kTestTemplate);
  EXPECT_NE(load((folder_ / "mine.jinja").string())->chat_template, nullptr);
  EXPECT_FALSE(load((folder_ / "absent.jinja").string()).ok());
}

TEST_F(FolderTest, BrokenFilesAreNamed) {
  put("generation_config.json", "{");
  ASSERT_FALSE(load().ok());
  EXPECT_NE(load().error().text.find("generation_config.json"), std::string::npos);
}

}  // namespace
}  // namespace xylem
