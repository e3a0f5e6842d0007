// Request bodies: JSON from strangers, bounded before anything is built of it.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace xylem {

using Json = nlohmann::ordered_json;  // document order matters to chat templates

// The limits keep hostile bodies from costing more than their bytes: deep nesting (recursion when dumping), objects of
// very many members (lookup in document order is linear) and very many tiny values (16 bytes and an allocation each).
struct JsonLimits {
  int depth = 64;
  int members = 4096;
  int values = 4 << 20;
};

// kInvalid with the reason for anything that is not one JSON document of valid UTF-8 within the limits.
Result<Json> parse_body(std::string_view text, const JsonLimits& limits = {});

// Compact text. Never throws: bytes that are not UTF-8 become U+FFFD.
std::string dump(const Json& json);

}  // namespace xylem
