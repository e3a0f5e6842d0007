// Reading a JSON object from a client: types and ranges are checked, the first error is kept and names the field's
// path.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "server/json_body.h"

namespace xylem {

// An interval of allowed numbers; open_lo excludes the lower end.
struct Range {
  double lo = -std::numeric_limits<double>::max(), hi = std::numeric_limits<double>::max();
  bool open_lo = false;
};

// Every reader leaves its target untouched, and returns false, when the field is absent or null, or when an error has
// been recorded. So a parser reads all its fields in a row and asks status() once at the end.
class Fields {
 public:
  // path: of the object itself, e.g. "messages[2]"; empty for the body.
  Fields(const Json& object, std::string path);

  const Json* get(std::string_view name);  // null when absent or JSON null
  bool boolean(std::string_view name, bool& out);
  bool integer(std::string_view name, int64_t& out, int64_t lo, int64_t hi);
  bool integer(std::string_view name, int& out, int lo, int hi);
  bool number(std::string_view name, float& out, Range range);
  bool string(std::string_view name, std::string& out);
  bool strings(std::string_view name, std::vector<std::string>& out, size_t max_count);  // one string or a list
  bool ids(std::string_view name, std::vector<TokenId>& out, int64_t vocab_size, size_t max_count);

  // The field may not be set (null, false, empty lists and objects count as unset): the server would silently ignore
  // it.
  void refuse(std::string_view name, std::string_view why);
  void refuse(std::initializer_list<std::string_view> names, std::string_view why);
  void ignore(std::initializer_list<std::string_view> names);  // known, and without effect on the answer
  void fail(std::string_view name, std::string_view text);     // record "path.name: text"
  void fail(Error error);

  // After all reads. strict: any field that no reader asked for is an error. Otherwise only one that looks like a
  // misspelling of a known field is: harmless extras of other clients (user, metadata, store ...) pass.
  void check_unknown(bool strict);
  Status status() const;
  std::string path(std::string_view name) const;

 private:
  const Json* object_;  // null when it is not an object
  std::string path_;
  std::vector<std::string_view> known_;
  Status status_;
};

// Ids of a JSON array: integers in [0, vocab_size).
Result<std::vector<TokenId>> parse_ids(const Json& json, const std::string& path, int64_t vocab_size);
// Of what kind a value is, for messages: "a string", "a list" ...
std::string_view kind_name(const Json& json);

}  // namespace xylem
