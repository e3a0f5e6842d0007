// For the tests that load: a folder, a device, and tensors to bind.
#pragma once
#include <memory>
#include <sstream>
#include <string>

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include "weights/loader.h"
#include "weights/test_checkpoint.h"

namespace xylem::testing {

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

// Collects what is logged while it lives.
class LogCapture {
 public:
  LogCapture() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out_)));
  }
  ~LogCapture() { spdlog::set_default_logger(before_); }
  std::string text() const { return out_.str(); }

 private:
  std::ostringstream out_;
  std::shared_ptr<spdlog::logger> before_;
};

class Loader : public ::testing::Test {
 protected:
  Result<LoadedWeights> load(Model& m, const LoadOptions& options = {}) { return load_weights(dir_.path(), m, device_, options); }
  std::string load_error(Model& m, const LoadOptions& options = {}) {
    const auto w = load(m, options);
    return w.ok() ? "" : w.error().text;
  }
  void write(const FileBuilder& b, size_t shift = 0) { dir_.write("model.safetensors", b.aligned_bytes(shift)); }

  LogCapture log_;
  TempDir dir_;
  CpuDevice device_{2, Isa::kScalar};
  Tensor a_, b_, c_, d_;
};

}  // namespace xylem::testing
