// CHECK stops the program when the code itself is wrong. What a user, a file or the network can cause is a Result.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace xylem {

[[noreturn]] inline void check_failed(const char* file, int line, const char* expr, const std::string& values) {
  std::fprintf(stderr, "%s:%d: check failed: %s%s%s\n", file, line, expr, values.empty() ? "" : "  ", values.c_str());
  std::abort();
}

namespace detail {
template <class T>
std::string show(const T& v) {
  if constexpr (requires { std::to_string(v); }) return std::to_string(v);
  else if constexpr (requires { std::string(v); }) return std::string(v);
  else return "?";
}
template <class... Ts>
std::string show_all(const Ts&... vs) {
  std::string s;
  ((s += (s.empty() ? "" : ", ") + show(vs)), ...);
  return s.empty() ? s : "(" + s + ")";
}
}  // namespace detail

// CHECK(condition, values...): always on; prints the values.  DCHECK: debug builds only, for hot loops.
#define CHECK(cond, ...)                                                                              \
  do {                                                                                                \
    if (!(cond)) [[unlikely]]                                                                         \
      ::xylem::check_failed(__FILE__, __LINE__, #cond, ::xylem::detail::show_all(__VA_ARGS__));       \
  } while (0)
#ifdef NDEBUG
#define DCHECK(cond, ...) do { } while (0)
#else
#define DCHECK(cond, ...) CHECK(cond, ##__VA_ARGS__)
#endif

}  // namespace xylem
