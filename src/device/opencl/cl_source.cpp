#include <cstring>

#include "device/opencl/opencl_device.h"

namespace xylem {
namespace {

constexpr int kMaxDepth = 8;

// Replaces lines `#include "x.clh"` by that file: every driver then sees one text, whatever it thinks of include paths.
Status expand(const std::string& name, const std::set<std::string>& left_out, int depth, std::string& out) {
  if (left_out.contains(name)) return {};
  if (depth > kMaxDepth) return internal_error(name + ": includes go too deep");
  const char* text = nullptr;
  for (const ClSource& s : cl_sources())
    if (name == s.name) text = s.text;
  if (!text) return not_found("there is no OpenCL source " + name);
  constexpr char kInclude[] = "#include \"";
  for (const char* line = text; *line;) {
    const char* end = std::strchr(line, '\n');
    const size_t n = end ? size_t(end - line) + 1 : std::strlen(line);
    const std::string s(line, n);
    if (s.starts_with(kInclude)) TRY_VOID(expand(s.substr(sizeof kInclude - 1, s.rfind('"') - (sizeof kInclude - 1)), left_out, depth + 1, out));
    else out += s;
    line += n;
  }
  return {};
}

}  // namespace

std::vector<ClSource>& cl_sources() {
  static std::vector<ClSource> v;
  return v;
}

Result<std::string> cl_source(const std::string& name, const std::set<std::string>& left_out) {
  std::string out;
  TRY_VOID(expand(name, left_out, 0, out));
  return out;
}

}  // namespace xylem
