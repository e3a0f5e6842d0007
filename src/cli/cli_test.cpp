#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "cli/http_client.h"
#include "cli/kernels.h"
#include "cli/model_path.h"
#include "cli/model_summary.h"
#include "cli/options.h"
#include "cli/stats.h"

namespace xylem {
namespace {

TEST(ParseBytes, TakesBytesAndUnitsOf1024) {
  EXPECT_EQ(*parse_bytes("4096"), 4096);
  EXPECT_EQ(*parse_bytes("512M"), 512ll << 20);
  EXPECT_EQ(*parse_bytes("2G"), 2ll << 30);
  EXPECT_EQ(*parse_bytes("1.5GiB"), 3ll << 29);
  EXPECT_EQ(*parse_bytes("3kb"), 3072);
  EXPECT_EQ(*parse_bytes("7B"), 7);
}

TEST(ParseBytes, RefusesEverythingElse) {
  for (const char* bad : {"", "G", "-1", "2X", "2GG", "12 3", "nan", "inf", "1e30", "0x10", "2G2"}) EXPECT_FALSE(parse_bytes(bad).ok()) << bad;
}

TEST(FormatBytes, PicksTheUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(2147483648.0), "2.00 GiB");
}

TEST(ParseUrl, SplitsHostPortAndPath) {
  const Url a = *parse_url("http://localhost:30000");
  EXPECT_EQ(a.host + "|" + a.port + "|" + a.path, "localhost|30000|");
  const Url b = *parse_url("http://[::1]:80/prefix//");
  EXPECT_EQ(b.host + "|" + b.port + "|" + b.path, "::1|80|/prefix");
  EXPECT_EQ((*parse_url("example.org")).port, "80");
  for (const char* bad : {"", "https://a", "http://", "a:", "a:b", "http://:1", "a:1234567"}) EXPECT_FALSE(parse_url(bad).ok()) << bad;
}

TEST(SseLines, JoinsPiecesAtAnyPlace) {
  const std::string stream = "data: one\n\ndata: two\r\n\r\n: comment\ndata: [DONE]\n\n";
  for (size_t size = 1; size <= stream.size(); size++) {
    SseLines lines;
    std::string got;
    for (size_t at = 0; at < stream.size(); at += size)
      lines.push(std::string_view(stream).substr(at, size), [&](std::string_view data) { got += std::string(data) + ";"; });
    EXPECT_EQ(got, "one;two;[DONE];") << size;
  }
}

TEST(Summarize, IsThatOfNumpy) {
  const Summary s = summarize({4, 1, 3, 2});
  EXPECT_EQ(s.min, 1);
  EXPECT_EQ(s.max, 4);
  EXPECT_EQ(s.mean, 2.5);
  EXPECT_EQ(s.median, 2.5);
  EXPECT_NEAR(s.p90, 3.7, 1e-12);
  EXPECT_EQ(summarize({}).max, 0);
}

TEST(ModelPath, FindsTheDemoModel) {
  const auto demo = model_or_demo("");
  ASSERT_TRUE(demo.ok());
  EXPECT_TRUE(std::ifstream(*demo + "/config.json").good());
  EXPECT_FALSE(model_or_demo("/no/such/folder").ok());
}

TEST(ModelSummary, CountsTheDemoModel) {
  const auto s = summarize_model(*model_or_demo(""), 2);
  ASSERT_TRUE(s.ok()) << s.error().text;
  EXPECT_TRUE(s->checkpoint.has_weights);
  // Sliding layers keep the last 64 tokens, so past them only the full layers grow.
  const double growth = s->cache_bytes(2001) - s->cache_bytes(2000);
  EXPECT_EQ(growth, 1 * 128 * 2 * 2);  // one full layer owns its cache: a head of 128, keys and values, bfloat16
  EXPECT_GT(s->step_bytes(1), 0);
  EXPECT_LE(s->step_bytes(1), double(s->checkpoint.weight_bytes) * 1.1);
}

TEST(ModelSummary, KnowsTheSizesToMeasure) {
  const auto gemma = summarize_model(XYLEM_SOURCE_DIR "/bench/configs/gemma4-e2b", 2);
  ASSERT_TRUE(gemma.ok()) << gemma.error().text;
  EXPECT_NEAR(double(gemma->checkpoint.parameters), 4.65e9, 0.1e9);  // 2.35e9 of them in the per-layer embeddings
  const auto qwen = summarize_model(XYLEM_SOURCE_DIR "/bench/configs/qwen3-0.6b", 2);
  ASSERT_TRUE(qwen.ok()) << qwen.error().text;
  EXPECT_NEAR(double(qwen->checkpoint.parameters), 0.596e9, 0.005e9);
  EXPECT_EQ(qwen->cache_bytes(1), 28 * 8 * 128 * 2 * 2);
}

// A kernel that registers itself can vanish from the program without any error: a lost object file is enough. New kernels
// need no entry; a removed one is taken out with `build/xylem devices --kernels > tests/golden/kernels.txt`.
TEST(Kernels, NoneIsLost) {
  std::istringstream now(kernel_dump());
  std::set<std::string> have;
  for (std::string line; std::getline(now, line);) have.insert(line);
  std::ifstream golden(XYLEM_SOURCE_DIR "/tests/golden/kernels.txt");
  int known = 0;
  for (std::string line; std::getline(golden, line); known++) EXPECT_TRUE(have.contains(line)) << line;
  EXPECT_GT(known, 20);
}

}  // namespace
}  // namespace xylem
