#include "text/tokenizer_json.h"

namespace xylem::tokenizer_json {
namespace {

Error bad(std::string_view where, std::string_view key, std::string_view expected) {
  return invalid("tokenizer.json: " + std::string(where) + "." + std::string(key) + " must be " +
                 std::string(expected) + ".");
}

}  // namespace

Member member(Json object, std::string_view key) {
  Member m;
  simdjson::dom::object o;
  if (object.get_object().get(o) != simdjson::SUCCESS || o.at_key(key).get(m.value) != simdjson::SUCCESS) return {};
  m.set = !m.value.is_null();
  return m;
}

Result<std::string> string_of(Json object, std::string_view key, std::string_view where) {
  std::string_view s;
  const Member m = member(object, key);
  if (!m.set || m.value.get_string().get(s) != simdjson::SUCCESS) return bad(where, key, "a string");
  return std::string(s);
}

Result<std::string> string_or(Json object, std::string_view key, std::string_view where, std::string fallback) {
  if (!member(object, key).set) return fallback;
  return string_of(object, key, where);
}

Result<bool> bool_of(Json object, std::string_view key, std::string_view where) {
  bool b = false;
  const Member m = member(object, key);
  if (!m.set || m.value.get_bool().get(b) != simdjson::SUCCESS) return bad(where, key, "true or false");
  return b;
}

Result<bool> bool_or(Json object, std::string_view key, std::string_view where, bool fallback) {
  if (!member(object, key).set) return fallback;
  return bool_of(object, key, where);
}

Result<int64_t> int_of(Json object, std::string_view key, std::string_view where, int64_t low, int64_t high) {
  int64_t n = 0;
  const Member m = member(object, key);
  if (!m.set || m.value.get_int64().get(n) != simdjson::SUCCESS || n < low || n > high) {
    return bad(where, key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return n;
}

Result<simdjson::dom::array> array_of(Json object, std::string_view key, std::string_view where) {
  simdjson::dom::array a;
  const Member m = member(object, key);
  if (!m.set || m.value.get_array().get(a) != simdjson::SUCCESS) return bad(where, key, "an array");
  return a;
}

Result<std::string> type_of(Json object, std::string_view where) { return string_of(object, "type", where); }

}  // namespace xylem::tokenizer_json
