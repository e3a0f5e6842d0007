// Choices between forms of a kernel that were measured on a device. They are kept in ~/.cache/xylem (XDG_CACHE_HOME is heard) by device,
// driver and this program's kernels: after a change of any of them the rules of the kernels decide again.
#pragma once
#include <array>
#include <map>
#include <string>

#include "base/result.h"

namespace xylem {

struct OpenClInfo;

class Tuning {
 public:
  // What tells calls of an op apart, the op's own number first.
  using Key = std::array<int64_t, 6>;

  // What is kept for the device; nothing of a file that is damaged.
  static Tuning load(const OpenClInfo& device);
  const std::string* find(const Key& key) const {  // a form's name
    const auto it = forms_.find(key);
    return it == forms_.end() ? nullptr : &it->second;
  }
  void set(const Key& key, std::string form) { forms_[key] = std::move(form); }  // letters and digits
  void erase(const Key& key) { forms_.erase(key); }
  size_t size() const { return forms_.size(); }
  Status save() const;

 private:
  std::string head_, path_;  // of the file; no path: nothing can be kept
  std::map<Key, std::string> forms_;
};

}  // namespace xylem
