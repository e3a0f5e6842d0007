// The outcome of work at an edge (files, HTTP bodies, devices) that may fail for reasons outside the program.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace xylem {

enum class Code { kInvalid, kNotFound, kUnsupported, kNoCapacity, kUnavailable, kInternal };

// text is a full sentence for the person who caused the error: what is wrong and what to do.
struct Error {
  Code code = Code::kInternal;
  std::string text;
};

inline Error invalid(std::string text) { return {Code::kInvalid, std::move(text)}; }
inline Error not_found(std::string text) { return {Code::kNotFound, std::move(text)}; }
inline Error unsupported(std::string text) { return {Code::kUnsupported, std::move(text)}; }
inline Error no_capacity(std::string text) { return {Code::kNoCapacity, std::move(text)}; }
inline Error unavailable(std::string text) { return {Code::kUnavailable, std::move(text)}; }
inline Error internal_error(std::string text) { return {Code::kInternal, std::move(text)}; }

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : v_(std::in_place_index<1>, std::move(error)) {}
  bool ok() const { return v_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { CHECK(!ok()); return std::get<1>(v_); }
  T& value() & { CHECK(ok(), error().text); return std::get<0>(v_); }
  const T& value() const& { CHECK(ok(), error().text); return std::get<0>(v_); }
  T&& value() && { CHECK(ok(), error().text); return std::get<0>(std::move(v_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> v_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : e_(std::move(error)) {}
  bool ok() const { return !e_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { CHECK(!ok()); return *e_; }

 private:
  std::optional<Error> e_;
};
using Status = Result<void>;

// TRY(x, expr): x = the value of expr, or return its error from this function.
#define XYLEM_CAT2(a, b) a##b
#define XYLEM_CAT(a, b) XYLEM_CAT2(a, b)
#define TRY_IMPL(tmp, decl, expr) auto tmp = (expr); if (!tmp.ok()) return tmp.error(); decl = *std::move(tmp)
#define TRY(decl, expr) TRY_IMPL(XYLEM_CAT(try_, __LINE__), decl, expr)
#define TRY_VOID(expr) do { if (auto s_ = (expr); !s_.ok()) return s_.error(); } while (0)

}  // namespace xylem
