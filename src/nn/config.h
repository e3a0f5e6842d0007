// config.json as a model reads it: checked values, one clear error.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace xylem {

// A view of one object of config.json. Reading a missing or wrong value gives a harmless one and remembers the first error,
// so that a model's constructor reads straight on; whoever constructs it asks status() before using it.
class Config {
 public:
  explicit Config(nlohmann::json json, std::string path = "config.json")
      : json_(std::move(json)), path_(std::move(path)), error_(std::make_shared<std::string>()) {}

  bool has(const std::string& key) const { return json_.is_object() && json_.contains(key) && !json_.at(key).is_null(); }
  int64_t integer(const std::string& key, int64_t lo = 1, int64_t hi = int64_t(1) << 28) const;          // required, in [lo, hi]
  int64_t integer_or(const std::string& key, int64_t fallback, int64_t lo = 0, int64_t hi = int64_t(1) << 28) const;
  double number(const std::string& key) const;                                                            // required, finite
  double number_or(const std::string& key, double fallback) const;
  bool flag_or(const std::string& key, bool fallback) const;
  std::string text_or(const std::string& key, const std::string& fallback) const;
  std::vector<std::string> texts(const std::string& key) const;                                           // required list of strings
  // For each layer, whether the list of kinds under `key` names `yes` for it. Kinds other than `no`, or another number of them, are errors.
  std::vector<bool> layer_kinds(const std::string& key, int64_t layers, const std::string& yes, const std::string& no) const;
  std::vector<int64_t> integers_or_none(const std::string& key) const;                                    // empty when absent
  Config child(const std::string& key) const;   // an absent or null one is an empty object; errors are shared with this one
  // This object with what it lacks among `keys` taken from another one, where old files keep it.
  Config with_defaults(const Config& other, const std::vector<std::string>& keys) const;
  void require_multiple(const char* key, int64_t value, const char* of_key, int64_t of) const;   // value is a multiple of `of`
  void fail(const std::string& what) const;     // "config.json: " + what, if it is the first error
  Status status() const;
  const nlohmann::json& json() const { return json_; }

 private:
  const nlohmann::json* find(const std::string& key, bool required, const char* type) const;
  nlohmann::json json_;
  std::string path_;
  std::shared_ptr<std::string> error_;
};

}  // namespace xylem
