#include "nn/config.h"

#include <algorithm>
#include <cmath>

namespace xylem {

const nlohmann::json* Config::find(const std::string& key, bool required, const char* type) const {
  if (has(key)) return &json_.at(key);
  if (required) fail("'" + key + "' is missing (expected " + type + ")");
  return nullptr;
}

int64_t Config::integer(const std::string& key, int64_t lo, int64_t hi) const {
  find(key, true, "an integer");
  return integer_or(key, lo, lo, hi);
}

int64_t Config::integer_or(const std::string& key, int64_t fallback, int64_t lo, int64_t hi) const {
  const nlohmann::json* v = find(key, false, "an integer");
  if (!v) return fallback;
  const bool whole = v->is_number_integer() || (v->is_number_float() && std::floor(v->get<double>()) == v->get<double>());
  if (!whole || v->get<double>() < double(lo) || v->get<double>() > double(hi)) {
    fail("'" + key + "' is " + v->dump().substr(0, 60) + ", expected an integer from " + std::to_string(lo) + " to " + std::to_string(hi));
    return lo;
  }
  return v->get<int64_t>();
}

double Config::number(const std::string& key) const {
  find(key, true, "a number");
  return number_or(key, 1.0);
}

double Config::number_or(const std::string& key, double fallback) const {
  const nlohmann::json* v = find(key, false, "a number");
  if (!v) return fallback;
  if (!v->is_number() || !std::isfinite(v->get<double>())) {
    fail("'" + key + "' is " + v->dump().substr(0, 60) + ", expected a number");
    return fallback;
  }
  return v->get<double>();
}

bool Config::flag_or(const std::string& key, bool fallback) const {
  const nlohmann::json* v = find(key, false, "true or false");
  if (!v) return fallback;
  if (!v->is_boolean()) {
    fail("'" + key + "' is " + v->dump().substr(0, 60) + ", expected true or false");
    return fallback;
  }
  return v->get<bool>();
}

std::string Config::text_or(const std::string& key, const std::string& fallback) const {
  const nlohmann::json* v = find(key, false, "a string");
  if (!v) return fallback;
  if (!v->is_string()) {
    fail("'" + key + "' is " + v->dump().substr(0, 60) + ", expected a string");
    return fallback;
  }
  return v->get<std::string>();
}

std::vector<std::string> Config::texts(const std::string& key) const {
  std::vector<std::string> list;
  const nlohmann::json* v = find(key, true, "a list of strings");
  if (!v) return list;
  if (v->is_array())
    for (const auto& e : *v)
      if (e.is_string()) list.push_back(e.get<std::string>());
  if (!v->is_array() || list.size() != v->size()) fail("'" + key + "' is not a list of strings");
  return list;
}

std::vector<bool> Config::layer_kinds(const std::string& key, int64_t layers, const std::string& yes, const std::string& no) const {
  std::vector<bool> out(static_cast<size_t>(layers));
  const std::vector<std::string> kinds = texts(key);
  if (int64_t(kinds.size()) != layers) fail(key + " has " + std::to_string(kinds.size()) + " entries for num_hidden_layers " + std::to_string(layers));
  for (size_t i = 0; i < std::min(kinds.size(), out.size()); i++) {
    out[i] = kinds[i] == yes;
    if (kinds[i] != yes && kinds[i] != no) fail(key + " holds '" + kinds[i] + "' (" + yes + " and " + no + " are supported)");
  }
  return out;
}

void Config::require_multiple(const char* key, int64_t value, const char* of_key, int64_t of) const {
  if (of < 1 || value % of) fail(std::string(key) + " " + std::to_string(value) + " is not a multiple of " + of_key + " " + std::to_string(of));
}

std::vector<int64_t> Config::integers_or_none(const std::string& key) const {
  std::vector<int64_t> list;
  const nlohmann::json* v = find(key, false, "a list of integers");
  if (!v) return list;
  if (v->is_array())
    for (const auto& e : *v)
      if (e.is_number_integer()) list.push_back(e.get<int64_t>());
  if (!v->is_array() || list.size() != v->size()) fail("'" + key + "' is not a list of integers");
  return list;
}

Config Config::child(const std::string& key) const {
  Config c(has(key) ? json_.at(key) : nlohmann::json::object(), path_ + ": " + key);
  c.error_ = error_;
  if (!c.json_.is_object()) {
    fail("'" + key + "' is not an object");
    c.json_ = nlohmann::json::object();
  }
  return c;
}

Config Config::with_defaults(const Config& other, const std::vector<std::string>& keys) const {
  Config c = *this;
  for (const std::string& key : keys)
    if (!has(key) && other.has(key)) c.json_[key] = other.json_.at(key);
  return c;
}

void Config::fail(const std::string& what) const {
  if (error_->empty()) *error_ = path_ + ": " + what;
}

Status Config::status() const {
  if (error_->empty()) return {};
  return invalid(*error_);
}

}  // namespace xylem
