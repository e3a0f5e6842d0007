#include "device/opencl/tuning.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/log.h"
#include "device/opencl/opencl_device.h"
#include "device/opencl/program_cache.h"

namespace xylem {
namespace {

uint64_t hash_of_sources() {
  std::map<std::string, std::string> sources;  // in an order that linking does not change
  for (const ClSource& s : cl_sources()) sources[s.name] = s.text;
  uint64_t h = fnv1a("");
  for (const auto& [name, text] : sources) h = fnv1a(text, fnv1a(name, h));
  return h;
}

bool is_name(const std::string& s) {
  return !s.empty() && s.size() <= 32 && std::all_of(s.begin(), s.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

// Lines of six numbers and a name, perhaps none. Nothing unless all of them are.
std::optional<std::map<Tuning::Key, std::string>> parse(const std::string& text) {
  std::map<Tuning::Key, std::string> forms;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream in(line);
    Tuning::Key key;
    std::string name, more;
    for (int64_t& n : key) in >> n;
    in >> name;
    if (!in || in >> more || !is_name(name) || forms.size() > 100000) return std::nullopt;
    forms[key] = name;
  }
  return forms;
}

}  // namespace

Tuning Tuning::load(const OpenClInfo& d) {
  Tuning t;
  t.head_ = fmt::format("xylem tuning 1\n{}\n{}\n{}\n{:016x}\n", d.name, d.driver, d.version, hash_of_sources());
  const std::filesystem::path folder = cache_folder();
  if (folder.empty()) return t;
  t.path_ = folder / fmt::format("{:016x}.tuning", fnv1a(t.head_));
  std::ifstream in(t.path_);
  if (!in) return t;
  const std::string all((std::istreambuf_iterator<char>(in)), {});
  auto forms = all.starts_with(t.head_) ? parse(all.substr(t.head_.size())) : std::nullopt;
  if (forms) t.forms_ = *std::move(forms);
  else log::warn("{} is damaged: its choices of kernels are not used (--tune makes it anew)", t.path_);
  return t;
}

Status Tuning::save() const {
  if (path_.empty()) return unavailable("neither XDG_CACHE_HOME nor HOME is set: what was tuned cannot be kept");
  std::string text = head_;
  for (const auto& [key, name] : forms_) text += fmt::format("{} {}\n", fmt::join(key, " "), name);
  return write_whole_file(path_, text) ? Status{} : unavailable(path_ + " cannot be written: what was tuned is lost when the program ends");
}

}  // namespace xylem
