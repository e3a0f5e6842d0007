#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/active_requests.h"
#include "server/auth.h"
#include "server/http_types.h"
#include "server/router.h"
#include "server/test_support.h"
#include "server/wire.h"

namespace xylem {
namespace {

TEST(Auth, ComparesBearerKeys) {
  EXPECT_TRUE(authorized("Bearer secret", "secret"));
  EXPECT_TRUE(authorized("bearer secret", "secret"));
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Bearer secretsecret",
                          "Basic secret", "secret", "Bearer  secret"})
    EXPECT_FALSE(authorized(bad, "secret")) << bad;
}

TEST(Router, FindsExactPathsAndPrefixes) {
  ASSERT_TRUE(find_route("/v1/chat/completions"));
  EXPECT_EQ(find_route("/v1/models/a/b")->path, "/v1/models/*");
  EXPECT_EQ(find_route("/v1/models")->path, "/v1/models");
  EXPECT_EQ(find_route("/v1/models/"), nullptr);
  EXPECT_EQ(find_route("/nothing"), nullptr);
  EXPECT_EQ(find_route(""), nullptr);
  EXPECT_TRUE(allows(*find_route("/generate"), "PUT"));
  EXPECT_FALSE(allows(*find_route("/generate"), "GET"));
  EXPECT_FALSE(allows(*find_route("/generate"), ""));
  EXPECT_TRUE(find_route("/health")->open);
  EXPECT_FALSE(find_route("/server_info")->open);
}

TEST(HttpTypes, PercentDecode) {
  EXPECT_EQ(percent_decode("/v1/models/a%2Fb%20c"), "/v1/models/a/b c");
  EXPECT_EQ(percent_decode("%"), "%");
  EXPECT_EQ(percent_decode("%4"), "%4");
  EXPECT_EQ(percent_decode("%zz%41"), "%zzA");
}

TEST(HttpTypes, ErrorEnvelopeHasBothForms) {
  const HttpResponse r = error_response(invalid("no"));
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(Json::parse(r.body),
            Json::parse(R"({"object": "error", "message": "no", "type": "BadRequestError", "param": null, "code": 400,
                                                 "error": {"message": "no", "type": "BadRequestError", "param": null, "code": 400}})"));
  EXPECT_EQ(error_response(unavailable("full")).status, 503);
}

TEST(ActiveRequests, FindsByPrefix) {
  ActiveRequests active;
  active.add("a1", 1);
  active.add("a2", 2);
  active.add("b", 3);
  active.add("b", 4);
  EXPECT_EQ(active.with_prefix("a"), (std::vector<RequestId>{1, 2}));
  EXPECT_EQ(active.with_prefix("").size(), 4u);
  active.remove("b", 3);
  active.remove("b", 99);
  EXPECT_EQ(active.with_prefix("b"), (std::vector<RequestId>{4}));
}

TEST(Wire, TokenBytesAreExact) {
  const auto tokenizer = Tokenizer::parse(byte_tokenizer_json()).value();
  EXPECT_EQ(token_bytes(*tokenizer, 'a'), "a");
  EXPECT_EQ(token_bytes(*tokenizer, 0xc3), "\xc3") << "half a character";
  EXPECT_EQ(token_text(*tokenizer, 0xc3), "\xef\xbf\xbd");
  EXPECT_EQ(token_bytes(*tokenizer, 257), "<eos>");
}

}  // namespace
}  // namespace xylem
