// Reading the parts of a tokenizer.json with errors that name the place. The file is hostile: every type is checked.
#pragma once
#include <simdjson.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace xylem::tokenizer_json {

using Json = simdjson::dom::element;

// The member of an object; null and absent are the same here: an element for which is_set() is false.
struct Member {
  Json value;
  bool set = false;
};
Member member(Json object, std::string_view key);

// where: what the object is ("pre_tokenizer", ...), for the error text.
Result<std::string> string_of(Json object, std::string_view key, std::string_view where);
Result<std::string> string_or(Json object, std::string_view key, std::string_view where, std::string fallback);
Result<bool> bool_or(Json object, std::string_view key, std::string_view where, bool fallback);
Result<bool> bool_of(Json object, std::string_view key, std::string_view where);
Result<int64_t> int_of(Json object, std::string_view key, std::string_view where, int64_t low, int64_t high);
Result<simdjson::dom::array> array_of(Json object, std::string_view key, std::string_view where);
// The "type" of a step.
Result<std::string> type_of(Json object, std::string_view where);

// Calls visit(step) for every step of an element that may be absent, one step, or a (nested) Sequence of steps under
// list_key.
template <class Visit>
Status for_each_step(Json step, std::string_view list_key, std::string_view where, Visit&& visit) {
  TRY(const std::string type, type_of(step, where));
  if (type != "Sequence") return visit(step, type);
  TRY(const auto steps, array_of(step, list_key, where));
  for (const Json inner : steps) TRY_VOID(for_each_step(inner, list_key, where, visit));
  return {};
}

}  // namespace xylem::tokenizer_json
