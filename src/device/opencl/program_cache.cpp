#include "device/opencl/program_cache.h"

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"

namespace xylem {
namespace {

namespace fs = std::filesystem;

// The key stands in the file too, so that neither a collision nor a cut file passes for a program.
struct Entry {
  fs::path path;
  std::string key;
};

Entry entry_for(const OpenClInfo& d, const std::string& source, const std::string& options) {
  Entry e;
  e.key = fmt::format("xylem program 1\n{}\n{}\n{}\n{}\n{:016x} {}\n", d.name, d.driver, d.version, options, fnv1a(source), source.size());
  const fs::path folder = cache_folder();
  if (!folder.empty()) e.path = folder / fmt::format("{:016x}{:016x}.bin", fnv1a(e.key), fnv1a(source, 0x9e3779b97f4a7c15ull));
  return e;
}

std::string read_binary(const Entry& e) {
  std::ifstream in(e.path, std::ios::binary);
  std::string all((std::istreambuf_iterator<char>(in)), {});
  const size_t head = e.key.size() + sizeof(uint64_t);
  if (all.size() <= head || !all.starts_with(e.key)) return "";
  uint64_t sum = 0;
  std::memcpy(&sum, all.data() + e.key.size(), sizeof sum);
  std::string binary = all.substr(head);
  return fnv1a(binary) == sum ? binary : "";
}

void write_binary(const Entry& e, cl_program p) {
  size_t n = 0;
  if (e.path.empty() || clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, nullptr) != CL_SUCCESS || n == 0) return;
  std::string binary(n, 0);
  unsigned char* out = reinterpret_cast<unsigned char*>(binary.data());
  if (clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof out, &out, nullptr) != CL_SUCCESS) return;
  const uint64_t sum = fnv1a(binary);
  write_whole_file(e.path, e.key + std::string(reinterpret_cast<const char*>(&sum), sizeof sum) + binary);
}

std::string log_of(cl_program p, cl_device_id id) {
  size_t n = 0;
  clGetProgramBuildInfo(p, id, CL_PROGRAM_BUILD_LOG, 0, nullptr, &n);
  std::string log(n, 0);
  clGetProgramBuildInfo(p, id, CL_PROGRAM_BUILD_LOG, n, log.data(), nullptr);
  while (!log.empty() && (log.back() == 0 || log.back() == '\n')) log.pop_back();
  return log.substr(0, 4000);
}

}  // namespace

fs::path cache_folder() {
  if (const char* x = std::getenv("XDG_CACHE_HOME"); x && *x) return fs::path(x) / "xylem";
  if (const char* home = std::getenv("HOME"); home && *home) return fs::path(home) / ".cache/xylem";
  return {};
}

bool write_whole_file(const fs::path& path, std::string_view bytes) {
  std::error_code ec;
  fs::create_directories(path.parent_path(), ec);
  static std::atomic<int> written{0};
  const fs::path part = fmt::format("{}.{}.{}", path.string(), getpid(), written++);
  std::ofstream f(part, std::ios::binary);
  f << bytes;
  f.close();
  if (f) fs::rename(part, path, ec);
  if (f && !ec) return true;
  fs::remove(part, ec);  // no such folder, or no room
  return false;
}

Result<cl_program> build_program(cl_context context, const OpenClInfo& d, const std::string& file, const std::string& source, const std::string& options) {
  const Entry entry = entry_for(d, source, options);
  cl_int e = CL_SUCCESS;
  if (const std::string binary = entry.path.empty() ? "" : read_binary(entry); !binary.empty()) {
    const size_t n = binary.size();
    const auto* data = reinterpret_cast<const unsigned char*>(binary.data());
    cl_program p = clCreateProgramWithBinary(context, 1, &d.id, &n, &data, nullptr, &e);
    if (e == CL_SUCCESS && clBuildProgram(p, 1, &d.id, options.c_str(), nullptr, nullptr) == CL_SUCCESS) return p;
    if (e == CL_SUCCESS) clReleaseProgram(p);
    log::warn("{}: the compiled program in {} is refused by the driver and built anew", file, entry.path.string());
  }
  const char* text = source.c_str();
  const size_t n = source.size();
  cl_program p = clCreateProgramWithSource(context, 1, &text, &n, &e);
  if (e != CL_SUCCESS) return internal_error(fmt::format("{}: clCreateProgramWithSource fails with {}", file, e));
  e = clBuildProgram(p, 1, &d.id, options.c_str(), nullptr, nullptr);
  if (e != CL_SUCCESS) {
    const std::string log = log_of(p, d.id);
    clReleaseProgram(p);
    return internal_error(fmt::format("{} does not compile on {} (driver {}, error {}) with {}:\n{}", file, d.name, d.driver, e, options, log));
  }
  write_binary(entry, p);
  return p;
}

}  // namespace xylem
