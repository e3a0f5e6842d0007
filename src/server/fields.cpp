#include "server/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

namespace xylem {
namespace {

// Damerau-free edit distance of two short names, at most `limit` (else limit + 1).
int edit_distance(std::string_view a, std::string_view b, int limit) {
  if (a.size() > b.size() + limit || b.size() > a.size() + limit) return limit + 1;
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j < row.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const int up = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = up;
    }
  }
  return row[b.size()];
}

// The integer a JSON number stands for; 3.0 is 3, as for most clients.
std::optional<int64_t> as_integer(const Json& json) {
  if (json.is_number_unsigned()) {
    const auto v = json.get<uint64_t>();
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(v);
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number_float()) {
    const double v = json.get<double>();
    if (std::abs(v) < 9e15 && v == std::floor(v)) return static_cast<int64_t>(v);
  }
  return std::nullopt;
}

bool is_unset(const Json& json) {
  return json.is_null() || (json.is_boolean() && !json.get<bool>()) || (json.is_structured() && json.empty());
}

}  // namespace

std::string_view kind_name(const Json& json) {
  if (json.is_string()) return "a string";
  if (json.is_array()) return "a list";
  if (json.is_object()) return "an object";
  if (json.is_boolean()) return "a boolean";
  if (json.is_number()) return "a number";
  return "null";
}

Result<std::vector<TokenId>> parse_ids(const Json& json, const std::string& path, int64_t vocab_size) {
  if (!json.is_array()) return invalid(fmt::format("{}: must be a list of token ids, not {}.", path, kind_name(json)));
  std::vector<TokenId> ids;
  ids.reserve(json.size());
  for (const Json& item : json) {
    const auto id = item.is_number() ? as_integer(item) : std::nullopt;
    if (!id) return invalid(fmt::format("{}[{}]: must be a token id, not {}.", path, ids.size(), kind_name(item)));
    if (*id < 0 || *id >= vocab_size)
      return invalid(fmt::format("{}[{}]: token id {} is outside the vocabulary of {} tokens.", path, ids.size(), *id,
                                 vocab_size));
    ids.push_back(static_cast<TokenId>(*id));
  }
  return ids;
}

Fields::Fields(const Json& object, std::string path)
    : object_(object.is_object() ? &object : nullptr), path_(std::move(path)) {
  if (!object_)
    status_ = invalid(fmt::format("{}: must be a JSON object, not {}.", path_.empty() ? "The request body" : path_,
                                  kind_name(object)));
}

std::string Fields::path(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void Fields::fail(Error error) {
  if (status_.ok()) status_ = std::move(error);
}
void Fields::fail(std::string_view name, std::string_view text) {
  fail(invalid(fmt::format("{}: {}", path(name), text)));
}

const Json* Fields::get(std::string_view name) {
  known_.push_back(name);
  if (!object_ || !status_.ok()) return nullptr;
  const auto it = object_->find(name);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

bool Fields::boolean(std::string_view name, bool& out) {
  const Json* v = get(name);
  if (!v) return false;
  if (!v->is_boolean()) return fail(name, fmt::format("must be true or false, not {}.", kind_name(*v))), false;
  out = v->get<bool>();
  return true;
}

bool Fields::integer(std::string_view name, int64_t& out, int64_t lo, int64_t hi) {
  const Json* v = get(name);
  if (!v) return false;
  if (!v->is_number()) return fail(name, fmt::format("must be an integer, not {}.", kind_name(*v))), false;
  const auto i = as_integer(*v);
  if (!i || *i < lo || *i > hi)
    return fail(name, fmt::format("must be an integer from {} to {}, but is {}.", lo, hi, dump(*v))), false;
  out = *i;
  return true;
}

bool Fields::integer(std::string_view name, int& out, int lo, int hi) {
  int64_t wide = 0;
  if (!integer(name, wide, int64_t{lo}, int64_t{hi})) return false;
  out = static_cast<int>(wide);
  return true;
}

bool Fields::number(std::string_view name, float& out, Range range) {
  const Json* v = get(name);
  if (!v) return false;
  if (!v->is_number()) return fail(name, fmt::format("must be a number, not {}.", kind_name(*v))), false;
  const double d = v->get<double>();
  if (!std::isfinite(d) || d < range.lo || (range.open_lo && d == range.lo) || d > range.hi) {
    const std::string lo = fmt::format("{} {}", range.open_lo ? "above" : "at least", range.lo);
    const std::string hi = range.hi < 1e30 ? fmt::format(" and at most {}", range.hi) : "";
    return fail(name, fmt::format("must be {}{}, but is {}.", lo, hi, dump(*v))), false;
  }
  out = static_cast<float>(d);
  return true;
}

bool Fields::string(std::string_view name, std::string& out) {
  const Json* v = get(name);
  if (!v) return false;
  if (!v->is_string()) return fail(name, fmt::format("must be a string, not {}.", kind_name(*v))), false;
  out = v->get_ref<const std::string&>();
  return true;
}

bool Fields::strings(std::string_view name, std::vector<std::string>& out, size_t max_count) {
  const Json* v = get(name);
  if (!v) return false;
  std::vector<std::string> list;
  if (v->is_string()) {
    list.push_back(v->get<std::string>());
  } else if (v->is_array()) {
    if (v->size() > max_count)
      return fail(name, fmt::format("has {} items; at most {} are allowed.", v->size(), max_count)), false;
    for (const Json& item : *v) {
      if (!item.is_string()) return fail(name, fmt::format("must hold only strings, not {}.", kind_name(item))), false;
      list.push_back(item.get<std::string>());
    }
  } else {
    return fail(name, fmt::format("must be a string or a list of strings, not {}.", kind_name(*v))), false;
  }
  out = std::move(list);
  return true;
}

bool Fields::ids(std::string_view name, std::vector<TokenId>& out, int64_t vocab_size, size_t max_count) {
  const Json* v = get(name);
  if (!v) return false;
  auto list = parse_ids(*v, path(name), vocab_size);
  if (!list.ok()) return fail(list.error()), false;
  if (list->size() > max_count)
    return fail(name, fmt::format("has {} items; at most {} are allowed.", list->size(), max_count)), false;
  out = *std::move(list);
  return true;
}

void Fields::refuse(std::string_view name, std::string_view why) {
  const Json* v = get(name);
  if (v && !is_unset(*v)) fail(name, why);
}
void Fields::refuse(std::initializer_list<std::string_view> names, std::string_view why) {
  for (const auto name : names) refuse(name, why);
}

void Fields::ignore(std::initializer_list<std::string_view> names) { known_.insert(known_.end(), names); }

void Fields::check_unknown(bool strict) {
  if (!object_ || !status_.ok()) return;
  for (const auto& [name, value] : object_->items()) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    for (const auto known : known_)
      if (known.size() >= 4 && name.size() < 64 && edit_distance(name, known, 2) <= (known.size() < 8 ? 1 : 2))
        return fail(name, fmt::format("is not a known field; did you mean \"{}\"?", known));
    if (strict) return fail(name.substr(0, 64), "is not a known field.");
  }
}

Status Fields::status() const { return status_; }

}  // namespace xylem
