#include "server/auth.h"

namespace xylem {

bool authorized(std::string_view authorization, std::string_view api_key) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return false;
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != kScheme[i]) return false;
  }
  const std::string_view given = authorization.substr(kScheme.size());
  unsigned difference = given.size() != api_key.size();
  for (size_t i = 0; i < given.size(); ++i)
    difference |= static_cast<unsigned char>(given[i]) ^
                  static_cast<unsigned char>(api_key.empty() ? 0 : api_key[i % api_key.size()]);
  return difference == 0;
}

}  // namespace xylem
