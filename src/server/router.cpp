#include "server/router.h"

#include "server/native_generate.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/plain_routes.h"

namespace xylem {
namespace {

constexpr std::string_view kGet = "GET HEAD";
constexpr std::string_view kPost = "POST";

const Route kRoutes[] = {
    {"/v1/chat/completions", kPost, Generation{&parse_chat, &find_chat_images}},
    {"/v1/completions", kPost, Generation{&parse_completions}},
    {"/generate", "POST PUT", Generation{&parse_generate, &find_generate_images}},
    {"/v1/models", kGet, &list_models},
    {"/v1/models/*", kGet, &show_model},
    {"/tokenize", kPost, &tokenize},
    {"/v1/tokenize", kPost, &tokenize},
    {"/detokenize", kPost, &detokenize},
    {"/v1/detokenize", kPost, &detokenize},
    {"/health", kGet, Waiting::kHealth, true},
    {"/health_generate", kGet, Waiting::kHealthGenerate, true},
    {"/metrics", kGet, &show_metrics, true},
    {"/server_info", kGet, &server_info},
    {"/get_server_info", kGet, &server_info},
    {"/model_info", kGet, &model_info},
    {"/get_model_info", kGet, &model_info},
    {"/v1/loads", kGet, &show_loads},
    {"/flush_cache", "GET HEAD POST", Waiting::kFlushCache},
    {"/abort_request", kPost, &abort_request},
    {"/ping", kGet, &ping},
    {"/", kGet, &greeting},
};

}  // namespace

const Route* find_route(std::string_view path) {
  for (const Route& r : kRoutes) {
    if (r.path == path) return &r;
    const std::string_view prefix = r.path.substr(0, r.path.size() - 1);
    if (r.path.ends_with("/*") && path.starts_with(prefix) && path.size() > prefix.size()) return &r;
  }
  return nullptr;
}

bool allows(const Route& route, std::string_view method) {
  for (std::string_view rest = route.methods; !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find(' '));
    if (name == method) return true;
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
  }
  return false;
}

}  // namespace xylem
